//! The processor cores that a measurement shares out.

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Has this thread run on the last core that it may use; the first one takes most interrupts.
///
/// # Errors
/// What the kernel says.
pub fn pin_to_last() -> Result<()> {
    let (last, _) = last_and_others()?;
    let mut one = CpuSet::new();
    one.set(last)?;
    sched_setaffinity(Pid::from_raw(0), &one).context("binding to one core")
}

/// The cores that this thread may use but for the last one, as `rps_cpus` of sysfs takes them.
///
/// # Errors
/// What the kernel says.
pub fn mask_of_others() -> Result<String> {
    let (_, others) = last_and_others()?;
    Ok(mask(&others))
}

fn last_and_others() -> Result<(usize, Vec<usize>)> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let is_allowed = |core: &usize| allowed.is_set(*core).unwrap_or(false);
    let mut cores: Vec<usize> = (0..CpuSet::count()).filter(is_allowed).collect();
    let last = cores.pop().context("no core to run on")?;
    Ok((last, cores))
}

/// Hexadecimal groups of 32 cores, the last ones first.
fn mask(cores: &[usize]) -> String {
    let groups = cores.iter().max().map_or(1, |last| last / 32 + 1);
    let group = |number: usize| {
        let bits = cores.iter().filter(|core| *core / 32 == number);
        bits.fold(0_u32, |bits, core| bits | 1 << (core % 32))
    };
    let groups: Vec<String> = (0..groups)
        .rev()
        .map(|number| format!("{:x}", group(number)))
        .collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_32_cores_in_a_group() {
        assert_eq!(mask(&[]), "0");
        assert_eq!(mask(&[0]), "1");
        assert_eq!(mask(&[0, 1, 3]), "b");
        assert_eq!(mask(&(0..32).collect::<Vec<_>>()), "ffffffff");
        assert_eq!(mask(&[2, 32, 40]), "101,4");
        assert_eq!(mask(&[64]), "1,0,0");
    }

    #[test]
    fn who_is_pinned_may_use_one_core() {
        std::thread::spawn(|| {
            let (last, _) = last_and_others().unwrap();
            pin_to_last().unwrap();
            assert_eq!(last_and_others().unwrap(), (last, vec![]));
            assert_eq!(mask_of_others().unwrap(), "0");
        })
        .join()
        .unwrap();
    }
}
