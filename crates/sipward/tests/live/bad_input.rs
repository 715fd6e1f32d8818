//! Whatever is wrong: one line that says what, where and how to mend it, the exit code of the
//! contract, and nothing half-applied.

use std::{fs, os::unix::process::CommandExt, process::Command};

use rusqlite::Connection;
use sipward_testkit::{
    namespace::Namespace,
    require::{Need, require},
};

use crate::place::{Place, has_xdp, kill, program, said, stop};

/// A namespace with one interface.
fn namespace() -> Option<(Namespace, Namespace)> {
    if !require(&[Need::Root]) {
        return None;
    }
    let (inside, outside) = (
        Namespace::new("guarded").unwrap(),
        Namespace::new("peer").unwrap(),
    );
    inside.veth("eth0", &outside, "peer0").unwrap();
    Some((inside, outside))
}

const GUARD: &str = "interfaces = [\"eth0\"]";

#[test]
fn an_interface_that_is_named_on_the_command_line_and_does_not_exist_is_refused() {
    let Some((inside, _peer)) = namespace() else {
        return;
    };
    let place = Place::new(GUARD);
    let said = place.refused(&inside, &["--interface", "eth9"]);
    said.assert_one_line(2, &["eth9", "ip link"]);
    place.assert_untouched();
    assert!(!has_xdp(&inside, "eth0"));
}

#[test]
fn an_interface_that_is_named_twice_on_the_command_line_is_refused() {
    let Some((inside, _peer)) = namespace() else {
        return;
    };
    let place = Place::new("");
    let said = place.refused(&inside, &["--interface", "eth0", "--interface", "eth0"]);
    said.assert_one_line(2, &["eth0", "twice"]);
    place.assert_untouched();
    assert!(!has_xdp(&inside, "eth0"));
}

#[test]
fn without_a_default_route_the_interface_must_be_named() {
    let Some((inside, _peer)) = namespace() else {
        return;
    };
    let place = Place::new("");
    place
        .refused(&inside, &[])
        .assert_one_line(2, &["no default route", "--interface"]);
    place.assert_untouched();
}

#[test]
fn an_unknown_key_is_refused_with_its_place() {
    let Some((inside, _peer)) = namespace() else {
        return;
    };
    let place = Place::new("interface = [\"eth0\"]");
    let said = place.refused(&inside, &[]);
    said.assert_one_line(
        78,
        &["sipward.toml:2:1: interface: unknown field", "`interfaces`"],
    );
    place.assert_untouched();
}

#[test]
fn a_broken_signature_file_is_refused_with_its_place() {
    let Some((inside, _peer)) = namespace() else {
        return;
    };
    let place = Place::new("interfaces = [\"eth0\"]\nsignatures.files = [\"own.toml\"]");
    let own = place.config().with_file_name("own.toml");
    fs::write(&own, "[[signature]]\nnam = \"x\"\n").unwrap();
    place
        .refused(&inside, &[])
        .assert_one_line(78, &["own.toml:2: ", "nam"]);
    place.assert_untouched();
}

#[test]
fn the_database_of_another_program_is_refused_and_left_alone() {
    let Some((inside, _peer)) = namespace() else {
        return;
    };
    let place = Place::new(GUARD);
    fs::create_dir(place.state()).unwrap();
    let ledger = place.state().join("ledger.db");
    let theirs = Connection::open(&ledger).unwrap();
    theirs.execute_batch("create table bips (ip text)").unwrap();
    drop(theirs);
    let content = fs::read(&ledger).unwrap();
    place
        .refused(&inside, &[])
        .assert_one_line(2, &["ledger.db", "another program", "--state-dir"]);
    assert!(
        fs::read(&ledger).unwrap() == content,
        "the file was changed"
    );
    assert_eq!(
        fs::read_dir(place.state()).unwrap().count(),
        1,
        "nothing is beside it"
    );
    assert!(!place.pins.exists() && !place.socket().exists());
    assert!(!has_xdp(&inside, "eth0"));
}

#[test]
fn a_file_that_is_no_socket_is_refused_and_left_alone() {
    let Some((inside, _peer)) = namespace() else {
        return;
    };
    let place = Place::new(GUARD);
    fs::write(place.socket(), "precious").unwrap();
    place
        .refused(&inside, &[])
        .assert_one_line(2, &["control.sock", "no socket", "--socket"]);
    assert_eq!(fs::read(place.socket()).unwrap(), b"precious");
    assert!(!has_xdp(&inside, "eth0"));
}

#[test]
fn a_second_run_is_refused_and_the_first_goes_on() {
    let Some((inside, _peer)) = namespace() else {
        return;
    };
    let first = Place::new(GUARD);
    let daemon = first.start(&inside);
    let second = Place::new(GUARD);
    let pid = format!("process {}", daemon.pid());
    second
        .refused(&inside, &[])
        .assert_one_line(2, &["eth0", &pid, "--interface"]);
    second.assert_untouched();
    assert_eq!(first.json("status")["enforcement"]["state"], "ok");
    stop(daemon);
}

#[test]
fn a_second_run_with_the_same_folders_is_refused_and_the_first_goes_on() {
    let Some((inside, peer)) = namespace() else {
        return;
    };
    let place = Place::new(GUARD);
    let daemon = place.start(&inside);
    let said = place.refused(&peer, &["--interface", "peer0"]);
    said.assert_one_line(2, &["--state-dir"]);
    let elsewhere = place.state().with_file_name("elsewhere");
    let elsewhere = elsewhere.to_str().unwrap();
    let arguments = ["--interface", "peer0", "--state-dir", elsewhere];
    let mut command = peer.command(program());
    command
        .args(["run", "--config"])
        .arg(place.config())
        .args(arguments);
    crate::place::said(command.arg("--socket").arg(place.socket()))
        .assert_one_line(2, &["pin-dir"]);
    assert!(!has_xdp(&peer, "peer0"));
    assert_eq!(place.json("status")["enforcement"]["state"], "ok");
    stop(daemon);
}

#[test]
fn another_xdp_program_on_the_interface_is_never_evicted() {
    let Some((inside, _peer)) = namespace() else {
        return;
    };
    let dead = Place::new(GUARD);
    // Its links stay with its pins.
    kill(dead.start(&inside));
    let place = Place::new(GUARD);
    place
        .refused(&inside, &["--backend", "xdp"])
        .assert_one_line(4, &["eth0", "another XDP program"]);
    assert!(!place.pins.exists() && !place.socket().exists());
    assert!(has_xdp(&inside, "eth0"));
}

#[test]
fn beside_another_xdp_program_nftables_guards_and_says_why() {
    let Some((inside, _peer)) = namespace() else {
        return;
    };
    let dead = Place::new(GUARD);
    kill(dead.start(&inside));
    let place = Place::new(GUARD);
    let daemon = place.start(&inside);
    let status = place.json("status");
    assert_eq!(status["backend"], "nftables");
    let reason = status["backend_reason"].as_str().unwrap();
    for part in ["eth0", "another XDP program", "signatures"] {
        assert!(reason.contains(part), "no {part:?} in {reason}");
    }
    assert_eq!(status["interfaces"][0]["xdp_mode"], serde_json::Value::Null);
    assert!(has_xdp(&inside, "eth0") && !place.pins.exists());
    stop(daemon);
    assert_eq!(inside.run("nft list tables").unwrap(), "");
}

#[test]
fn a_range_written_backwards_is_refused() {
    let place = Place::new("");
    let said = place.sipward("ban 87.119.220.203-87.119.220.200");
    said.assert_one_line(2, &["backwards", "87.119.220.200-87.119.220.203"]);
}

#[test]
fn without_a_daemon_a_command_says_how_to_start_one() {
    let place = Place::new("");
    for command in [
        "status",
        "bans",
        "suspects",
        "why 192.0.2.1",
        "why alice",
        "trusted",
        "watch",
        "ban 192.0.2.1",
        "unban --all",
        "allowed",
    ] {
        place
            .sipward(command)
            .assert_one_line(3, &["sipward run", "control.sock"]);
    }
}

#[test]
fn without_privileges_it_does_not_start() {
    let Some((inside, _peer)) = namespace() else {
        return;
    };
    let place = Place::new(GUARD);
    let mut command = inside.command("setpriv");
    command
        .args(["--bounding-set=-all", "--inh-caps=-all"])
        .arg(program());
    said(command.args(place.run_arguments())).assert_one_line(4, &["root", "CAP_BPF"]);
    place.assert_untouched();
    assert!(!has_xdp(&inside, "eth0"));
}

#[test]
fn what_cannot_be_sent_is_said_before_anything_is_guarded() {
    let Some((inside, _peer)) = namespace() else {
        return;
    };
    let place = Place::new(&format!("{GUARD}\n[answer]\nenabled = true\n"));
    let mut command = inside.command("setpriv");
    command
        .args(["--bounding-set=-net_raw", "--inh-caps=-net_raw"])
        .arg(program());
    said(command.args(place.run_arguments()))
        .assert_one_line(4, &["raw socket", "CAP_NET_RAW", "[answer]"]);
    place.assert_untouched();
    assert!(!has_xdp(&inside, "eth0"));
}

#[test]
fn without_bpf_in_the_kernel_xdp_does_not_start() {
    let Some((inside, _peer)) = namespace() else {
        return;
    };
    let place = Place::new(GUARD);
    let mut command = inside.command(program());
    command
        .args(place.run_arguments())
        .args(["--backend", "xdp"]);
    refuse_bpf(&mut command);
    said(&mut command).assert_one_line(4, &["does not offer BPF", "6.1"]);
    place.assert_untouched();
    assert!(!has_xdp(&inside, "eth0"));
}

/// Lets bpf(2) answer ENOSYS, as a kernel without it does.
#[expect(
    unsafe_code,
    reason = "a seccomp filter can be set between fork and exec only"
)]
fn refuse_bpf(command: &mut Command) {
    /// Offset of `nr` in `struct seccomp_data`.
    const NUMBER: u32 = 0;
    let statement = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let enosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, NUMBER),
        statement(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            libc::SYS_bpf as u32,
        ),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, enosys),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let set = move || {
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_mut_ptr(),
        };
        // SAFETY: both calls are async-signal-safe, and the filter outlives them.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(
                    libc::PR_SET_SECCOMP,
                    libc::SECCOMP_MODE_FILTER,
                    &raw const program,
                ) == 0
        };
        if done {
            Ok(())
        } else {
            Err(std::io::Error::last_os_error())
        }
    };
    // SAFETY: `set` allocates nothing and takes no lock.
    unsafe { command.pre_exec(set) };
}
