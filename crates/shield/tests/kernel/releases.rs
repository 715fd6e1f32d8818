//! The whole verdict table on the oldest kernel that is supported and on others: this very program
//! is booted under qemu as all that a small machine runs.

use sipward_testkit::machine::{Clock, Machine};

#[test]
fn the_verdict_table_holds_on_linux_6_1() {
    boot("bookworm", "6.1.");
}

#[test]
fn the_verdict_table_holds_on_linux_6_12() {
    boot("trixie", "6.12.");
}

fn boot(suite: &'static str, release: &str) {
    let machine = Machine {
        suite,
        release,
        programs: &[],
        clock: Clock::OfThisMachine,
    };
    let Some(said) = machine.run("--test-threads=1 --skip releases::") else {
        return;
    };
    let mut lines = said.lines().map(str::trim);
    let kernel = lines.next().unwrap_or_default();
    let summary = lines.find(|line| line.starts_with("test result:"));
    let summary = summary.unwrap_or_default();
    println!("{kernel}: {summary}");
    assert!(
        summary.contains("test result: ok") && !summary.contains("ok. 0 passed"),
        "{said}"
    );
}
