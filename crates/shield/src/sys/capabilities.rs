//! Giving up the capabilities of one thread, see capabilities(7).

use std::io;

use nix::sys::prctl::set_no_new_privs;

const VERSION_3: u32 = 0x2008_0522;

/// The kernel's `struct __user_cap_header_struct`.
#[repr(C)]
struct Header {
    version: u32,
    /// 0 is the thread that asks.
    thread: libc::c_int,
}

/// The kernel's `struct __user_cap_data_struct`; version 3 has two of them, of 32 capabilities each.
#[repr(C)]
#[derive(Clone, Copy)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const NONE: Sets = Sets {
    effective: 0,
    permitted: 0,
    inheritable: 0,
};

/// Gives up every capability of the thread that calls this, for good: no program that it executes has
/// any, either. The other threads keep theirs.
///
/// # Errors
/// The kernel refused: a filter of system calls may.
pub fn give_up_capabilities() -> io::Result<()> {
    set_no_new_privs()?;
    let mut header = Header {
        version: VERSION_3,
        thread: 0,
    };
    let sets = [NONE; 2];
    // SAFETY: the pointers are to a header and to the two sets of its version, of the kernel's layout;
    // all of it lives through the call, which may write the header only.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_capset,
            &raw mut header,
            (&raw const sets).cast::<Sets>(),
        )
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::give_up_capabilities;

    /// Inheritable, permitted, effective and ambient ones, and whether programs may bring new ones.
    fn rights_of_this_thread() -> Vec<String> {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let named = ["CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs"];
        let is_one = |line: &&str| named.iter().any(|name| line.starts_with(name));
        status.lines().filter(is_one).map(str::to_owned).collect()
    }

    #[test]
    fn one_thread_gives_up_its_capabilities_and_the_others_keep_theirs() {
        let before = rights_of_this_thread();
        let given_up = thread::spawn(|| {
            give_up_capabilities().unwrap();
            rights_of_this_thread()
        });
        let none = "0".repeat(16);
        assert_eq!(
            given_up.join().unwrap(),
            [
                format!("CapInh:\t{none}"),
                format!("CapPrm:\t{none}"),
                format!("CapEff:\t{none}"),
                format!("CapAmb:\t{none}"),
                "NoNewPrivs:\t1".to_owned(),
            ]
        );
        assert_eq!(rights_of_this_thread(), before);
    }
}
