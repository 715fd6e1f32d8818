//! A private instance of the real kernel program, attached to nothing: packets are run through it
//! one at a time with BPF_PROG_TEST_RUN.

use std::time::Duration;

use aya::{
    Ebpf,
    programs::{TestRun as _, TestRunOptions},
};

use crate::{
    Claim, Error, Event, Reason, SignatureHit, Verdict, delegate::shield_by_maps, maps::Maps,
    program,
};

const XDP_DROP: u32 = 1;
const ETHERNET_HEADER: usize = 14;

/// What the kernel program said of one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What would be done with it.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The signature that hit.
    pub signature: Option<SignatureHit>,
}

/// The kernel program with maps of its own.
pub struct Simulator {
    ebpf: Ebpf,
    maps: Maps,
}

impl Simulator {
    /// Loads the program; it needs the same privileges as guarding does.
    ///
    /// # Errors
    /// [`Error::NotPermitted`], [`Error::NoBpf`] or [`Error::Load`].
    pub fn new() -> Result<Self, Error> {
        let mut ebpf = program::load(None)?;
        let maps = Maps::new(&mut ebpf)?;
        Ok(Self { ebpf, maps })
    }

    /// Judges one Ethernet frame, as it would be judged on an interface now.
    ///
    /// # Errors
    /// [`Error::Load`] where the kernel does not run the frame.
    pub fn run(&mut self, frame: &[u8]) -> Result<Judgement, Error> {
        if frame.len() < ETHERNET_HEADER {
            // The kernel runs nothing shorter; on an interface it would be handed over as is.
            let (verdict, reason) = (Verdict::Pass, Reason::NotUnderstood);
            return Ok(Judgement {
                verdict,
                reason,
                signature: None,
            });
        }
        let before = self.maps.counters()?;
        let result = self.test_run(frame, 1)?;
        let after = self.maps.counters()?;
        let reason = Reason::ALL
            .iter()
            .copied()
            .find(|reason| before.of(*reason) != after.of(*reason))
            .ok_or_else(|| Error::Load("the program counted no reason".into()))?;
        let mut signature = None;
        self.maps
            .drain_events(&mut |event: Event| signature = event.signature);
        let verdict = if result.return_value == XDP_DROP {
            Verdict::Drop
        } else {
            Verdict::Pass
        };
        Ok(Judgement {
            verdict,
            reason,
            signature,
        })
    }

    /// Runs a frame many times and returns the mean time of one run, as the kernel measured it.
    ///
    /// # Errors
    /// [`Error::Load`] where the kernel does not run the frame.
    pub fn time(&mut self, frame: &[u8], repeat: u32) -> Result<Duration, Error> {
        Ok(self.test_run(frame, repeat)?.duration)
    }

    fn test_run(
        &mut self,
        frame: &[u8],
        repeat: u32,
    ) -> Result<aya::programs::TestRunResult, Error> {
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat,
            ..TestRunOptions::new()
        };
        program::xdp(&mut self.ebpf)?
            .test_run(options)
            .map_err(|error| Error::Load(Box::new(error)))
    }
}

shield_by_maps!(Simulator {
    fn interfaces(&self) -> Result<Vec<crate::GuardedInterface>, Error> {
        Ok(Vec::new())
    }

    fn attach(&mut self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    fn reattach(&mut self, _: &mut Claim<'_>) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    fn detach(&mut self) -> Result<(), Error> {
        Ok(())
    }
});
