//! What ends with a panic in the daemon: all of it, or only what was being done for a stranger.
//!
//! Half a daemon would look whole, so it ends as if it was killed: nothing is unwound, what is enforced
//! stays in force, and the next start takes over. Whoever may ask without being anybody must not have
//! that power, whatever mistake he finds: there a panic ends the connection.

use std::{cell::Cell, panic, process};

#[cfg(panic = "abort")]
compile_error!("who asks for metrics could end the guard: build with panic = \"unwind\"");

thread_local! {
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// From now on a panic ends the process, whichever thread it is in.
pub fn end_the_process() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        tell(panic);
        if !IS_CONTAINED.get() {
            process::abort();
        }
    }));
}

/// But in this thread, from now on: there it ends the task that it is in.
pub fn end_the_task_here() {
    IS_CONTAINED.set(true);
}

#[cfg(test)]
mod tests {
    use std::{
        env, io::Write as _, io::stdout, os::unix::process::ExitStatusExt as _, process::Command,
        thread,
    };

    use nix::sys::signal::Signal;

    use super::{end_the_process, end_the_task_here};

    /// Says to the test below that it is to panic: it would take the others with it.
    const CHILD: &str = "SIPWARD_TEST_OF_PANICS";

    fn panic_twice() {
        end_the_process();
        let contained = thread::spawn(|| {
            end_the_task_here();
            panic!("a mistake that a stranger found");
        });
        assert!(contained.join().is_err());
        writeln!(stdout(), "goes on").unwrap();
        let other = thread::spawn(|| panic!("a mistake of our own"));
        let _ = other.join();
        writeln!(stdout(), "goes on again").unwrap();
    }

    #[test]
    fn a_panic_ends_the_process_except_where_strangers_ask() {
        if env::var_os(CHILD).is_some() {
            return panic_twice();
        }
        let this = "panics::tests::a_panic_ends_the_process_except_where_strangers_ask";
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", this, "--nocapture"])
            .env(CHILD, "");
        let child = command.output().unwrap();
        let said = String::from_utf8(child.stdout).unwrap();
        assert!(said.contains("goes on\n"), "{said}");
        assert!(!said.contains("goes on again"), "{said}");
        assert_eq!(
            child.status.signal(),
            Some(Signal::SIGABRT as i32),
            "{said}"
        );
    }
}
