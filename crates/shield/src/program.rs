//! Loading the kernel program, with maps of its own or with those that are pinned.

use std::{error::Error as StdError, io, path::Path};

use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    programs::{ProgramError, Xdp},
};

use crate::{Error, abi::PINNED_MAPS, sys};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/shield.bpf.o"));

const PROGRAM: &str = "shield";

/// Loads the object. Maps whose pin is in `pins` are taken from there, the others are made and
/// pinned; without a folder all are private.
pub fn load(pins: Option<&Path>) -> Result<Ebpf, Error> {
    sys::probe()?;
    let mut loader = EbpfLoader::new();
    if let Some(pins) = pins {
        for map in PINNED_MAPS {
            loader.map_pin_path(map.name, pins.join(map.name));
        }
    }
    let mut ebpf = loader.load(OBJECT).map_err(refused)?;
    xdp(&mut ebpf)?.load().map_err(refused)?;
    Ok(ebpf)
}

/// The XDP program of a loaded object.
pub fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp, Error> {
    let program = ebpf
        .program_mut(PROGRAM)
        .ok_or_else(|| Error::Load("no program in the object".into()))?;
    program
        .try_into()
        .map_err(|error: ProgramError| Error::Load(Box::new(error)))
}

fn refused(error: impl StdError + Send + Sync + 'static) -> Error {
    match os_error(&error) {
        Some(libc::EPERM | libc::EACCES) if !is_verifier(&error) => Error::NotPermitted,
        Some(_) | None => Error::Load(Box::new(error)),
    }
}

/// The verifier answers EACCES, too; its log tells it from a missing capability.
fn is_verifier(error: &(dyn StdError + 'static)) -> bool {
    chain(error).any(|cause| {
        matches!(
            cause.downcast_ref::<ProgramError>(),
            Some(ProgramError::LoadError { .. })
        )
    })
}

/// The system's error number behind an error of aya.
pub fn os_error(error: &(dyn StdError + 'static)) -> Option<i32> {
    chain(error).find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error())
}

/// What the system said behind an error of aya, whose own text names the call only.
pub fn reason(error: &(dyn StdError + 'static)) -> String {
    os_error(error).map_or_else(
        || {
            let causes: Vec<String> = chain(error).map(ToString::to_string).collect();
            causes.join(": ")
        },
        |number| io::Error::from_raw_os_error(number).to_string(),
    )
}

fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

#[cfg(test)]
mod tests {
    use super::OBJECT;
    use std::collections::BTreeSet;

    /// Of `<linux/bpf.h>`.
    const KTIME_GET_NS: i32 = 5;
    const KTIME_GET_BOOT_NS: i32 = 125;
    const KTIME_GET_COARSE_NS: i32 = 160;
    const KTIME_GET_TAI_NS: i32 = 208;

    const EXECUTABLE: u64 = 4;
    const CALL: u8 = 0x85;

    fn number<const LEN: usize>(at: usize) -> [u8; LEN] {
        *OBJECT[at..].first_chunk().unwrap()
    }

    fn long(at: usize) -> usize {
        usize::try_from(u64::from_le_bytes(number(at))).unwrap()
    }

    fn short(at: usize) -> usize {
        u16::from_le_bytes(number(at)).into()
    }

    /// The numbers of the helpers that the program calls, by its ELF file.
    fn helpers() -> BTreeSet<i32> {
        let (sections, size, count) = (long(0x28), short(0x3a), short(0x3c));
        let mut helpers = BTreeSet::new();
        for section in (0..count).map(|number| sections + number * size) {
            let flags = u64::from_le_bytes(number(section + 8));
            if flags & EXECUTABLE == 0 {
                continue;
            }
            let (begin, length) = (long(section + 0x18), long(section + 0x20));
            for at in (begin..begin + length).step_by(8) {
                let [code, registers, ..]: [u8; 4] = number(at);
                // With another source register it is a function of the program's own.
                if code == CALL && registers >> 4 == 0 {
                    helpers.insert(i32::from_le_bytes(number(at + 4)));
                }
            }
        }
        helpers
    }

    /// Suspend stops the other clocks, or somebody sets them.
    #[test]
    fn the_program_knows_no_time_but_boot_time() {
        let helpers = helpers();
        assert!(helpers.contains(&KTIME_GET_BOOT_NS), "{helpers:?}");
        for other in [KTIME_GET_NS, KTIME_GET_COARSE_NS, KTIME_GET_TAI_NS] {
            assert!(!helpers.contains(&other), "{helpers:?}");
        }
    }
}
