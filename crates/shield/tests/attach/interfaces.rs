//! What becomes of interfaces: they come, go, change their names, and are refused.

use std::{
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::resource::{Resource, getrlimit, setrlimit},
};
use sipward_shield::{Error, LinkWatch, RefusalKind, Shield as _, xdp::Xdp};
use sipward_testkit::process::wait_until;

use crate::net::{Net, PATIENCE, VICTIM, ban, guard, options};

#[test]
fn an_interface_that_is_not_there_is_awaited_and_leaves_nothing_behind() {
    let Some(net) = Net::new() else { return };
    let (mut xdp, _) = net.open_at(net.pin_dir.clone(), "late0", None).unwrap();
    let only = |xdp: &mut Xdp| net.interfaces(xdp).remove(0);
    assert!(!only(&mut xdp).is_present && !only(&mut xdp).attached);
    assert_eq!(net.reattach(&mut xdp), [""; 0]);
    net.pbx.run("ip link add late0 type bridge").unwrap();
    assert!(only(&mut xdp).is_present && !only(&mut xdp).attached);
    assert_eq!(net.reattach(&mut xdp), ["late0: is there, and guarded"]);
    assert!(only(&mut xdp).attached);
    assert_eq!(net.links(), 1);
    net.pbx.run("ip link del late0").unwrap();
    net.reattach(&mut xdp);
    assert!(!only(&mut xdp).attached);
    assert_eq!(net.links(), 0);
    drop(xdp);
    assert!(!net.pin_dir.exists());
}

#[test]
fn a_link_that_was_severed_is_seen_and_replaced() {
    let Some(net) = Net::new() else { return };
    let mut xdp = net.open(None).unwrap();
    ban(&mut xdp);
    net.pbx.run("ip link del wan").unwrap();
    assert!(!net.interfaces(&mut xdp)[0].attached);
    net.wire();
    assert!(net.reaches());
    drop(xdp);
    let mut xdp = net.open(None).unwrap();
    assert!(net.interfaces(&mut xdp)[0].attached);
    assert!(!net.reaches());
}

#[test]
fn a_renamed_interface_is_guarded_on_until_another_one_has_its_name() {
    let Some(net) = Net::new() else { return };
    let mut xdp = net.open(None).unwrap();
    ban(&mut xdp);
    net.rename("wan", "outside");
    let only = |xdp: &mut Xdp| net.interfaces(xdp).remove(0);
    assert_eq!(only(&mut xdp).name, "outside");
    assert!(only(&mut xdp).attached);
    assert_eq!(net.reattach(&mut xdp), [""; 0]);
    assert!(!net.reaches());
    drop(xdp);
    // Under the name that it has now.
    let (mut xdp, notes) = net.open_at(net.pin_dir.clone(), "outside", None).unwrap();
    assert!(
        notes
            .iter()
            .any(|note| note.starts_with("outside: adopted"))
    );
    assert!(!net.reaches());

    net.rename("outside", "wan");
    assert_eq!(only(&mut xdp).name, "wan");
    net.pbx.run("ip link add outside type bridge").unwrap();
    assert!(!only(&mut xdp).attached);
    assert_eq!(
        net.reattach(&mut xdp),
        [
            "outside: is there, and guarded",
            "outside: the one before is no longer guarded"
        ]
    );
    assert!(only(&mut xdp).attached);
    assert_eq!(net.links(), 1);
    wait_until("the link to go with its pin", PATIENCE, || net.reaches()).unwrap();
}

#[test]
fn who_holds_the_lock_of_an_interface_with_our_program_takes_nothing_off() {
    let Some(net) = Net::new() else { return };
    let mut xdp = net.open(None).unwrap();
    ban(&mut xdp);
    let refuse = &mut |_, _: &str| Err("another sipward has it".to_owned());
    let notes = net.pbx.enter(|| xdp.reattach(refuse).unwrap());
    assert_eq!(notes, [""; 0]);
    assert!(net.interfaces(&mut xdp)[0].attached);
    assert!(!net.reaches());
}

#[test]
fn an_interface_that_took_anothers_name_is_that_one_whatever_it_is_called_then() {
    let Some(net) = Net::new() else { return };
    let options = options(net.pin_dir.clone(), &["wan", "other"]);
    let (mut xdp, _) = net.pbx.enter(|| guard(options)).unwrap();
    let mut rename = |from: &str, to: &str| {
        net.rename(from, to);
        net.reattach(&mut xdp);
        let all = net.interfaces(&mut xdp).into_iter();
        let guarded = all.filter(|it| it.attached);
        guarded.map(|it| (it.wanted, it.name)).collect::<Vec<_>>()
    };
    let called = |wanted: &str, name: &str| vec![(wanted.to_owned(), name.to_owned())];
    assert_eq!(rename("wan", "other"), called("other", "other"));
    assert_eq!(rename("other", "outside"), called("other", "outside"));
    assert_eq!(rename("outside", "wan"), called("wan", "wan"));
    assert_eq!(rename("wan", "outside"), called("wan", "outside"));
}

#[test]
fn a_renamed_interface_is_guarded_on_over_a_restart_under_the_old_name() {
    let Some(net) = Net::new() else { return };
    let mut xdp = net.open(None).unwrap();
    ban(&mut xdp);
    net.rename("wan", "outside");
    drop(xdp);
    let (mut xdp, notes) = net.reopen();
    assert_eq!(notes, ["outside: adopted, generic"]);
    let only = net.interfaces(&mut xdp).remove(0);
    assert_eq!(
        (only.wanted.as_str(), only.name.as_str()),
        ("wan", "outside")
    );
    assert!(only.attached);
    assert!(!net.reaches());

    // Whoever bears the name goes before who bore it.
    net.pbx.run("ip link add wan type bridge").unwrap();
    drop(xdp);
    let (mut xdp, _) = net.reopen();
    let only = net.interfaces(&mut xdp).remove(0);
    assert_eq!(only.name, "wan");
    assert!(only.attached);
    assert_eq!(net.links(), 1);
}

#[test]
fn an_interface_that_comes_under_the_index_of_one_that_is_gone_is_a_stranger() {
    let Some(net) = Net::new() else { return };
    let add = |name: &str| {
        let add = format!("ip link add {name} index 1000 type bridge");
        net.pbx.run(&add).unwrap();
    };
    add("pbx0");
    let (mut xdp, _) = net.open_at(net.pin_dir.clone(), "pbx0", None).unwrap();
    net.pbx.run("ip link del pbx0").unwrap();
    net.reattach(&mut xdp);
    add("stranger");
    assert_eq!(net.reattach(&mut xdp), [""; 0]);
    let only = net.interfaces(&mut xdp).remove(0);
    assert_eq!((only.name.as_str(), only.is_present), ("pbx0", false));
    assert_eq!(net.links(), 0);
}

#[test]
fn each_interface_that_comes_and_is_refused_tells_why_and_is_noted_once() {
    let Some(net) = Net::new() else { return };
    let options = options(net.pin_dir.clone(), &["tun0", "wan", "second"]);
    let (mut xdp, _) = net.pbx.enter(|| guard(options)).unwrap();
    net.pbx.run("ip tuntap add dev tun0 mode tun").unwrap();
    net.pbx.run("ip link add second type bridge").unwrap();
    let foreign_pins = PathBuf::from(format!("{}-foreign", net.pin_dir.display()));
    let (mut foreign, _) = net.open_at(foreign_pins, "second", None).unwrap();

    let notes = net.reattach(&mut xdp);
    let [tunnel, wan, second] = <[_; 3]>::try_from(net.interfaces(&mut xdp)).unwrap();
    assert!(wan.attached && wan.refused.is_none());
    let (tunnel, second) = (tunnel.refused.unwrap(), second.refused.unwrap());
    assert!(tunnel.why.contains("take --backend nftables"), "{tunnel:?}");
    assert!(second.why.contains("another XDP program"), "{second:?}");
    assert_eq!(
        (tunnel.kind, second.kind),
        (RefusalKind::NoXdp, RefusalKind::Anothers)
    );
    assert_eq!(notes, [tunnel.why, second.why]);
    assert_eq!(net.reattach(&mut xdp), [""; 0]);

    foreign.detach().unwrap();
    assert_eq!(net.reattach(&mut xdp), ["second: is there, and guarded"]);
    assert_eq!(net.interfaces(&mut xdp)[2].refused, None);
}

#[test]
fn an_interface_made_anew_under_its_index_while_nobody_guarded_is_guarded_by_the_next_start() {
    let Some(net) = Net::new() else { return };
    let add = || {
        net.pbx
            .run("ip link add pbx0 index 1000 type bridge")
            .unwrap()
    };
    add();
    drop(net.open_at(net.pin_dir.clone(), "pbx0", None).unwrap());
    net.pbx.run("ip link del pbx0").unwrap();
    add();
    let (mut xdp, _) = net.open_at(net.pin_dir.clone(), "pbx0", None).unwrap();
    assert!(net.interfaces(&mut xdp)[0].attached);
    assert_eq!(net.links(), 1);
}

#[test]
fn a_dead_link_beside_a_living_one_of_another_layout_is_not_taken_for_it() {
    let Some(net) = Net::new() else { return };
    let other = PathBuf::from(format!("{}-other", net.pin_dir.display()));
    let add = || {
        let add = "ip link add pbx0 index 1000 type bridge";
        net.pbx.run(add).unwrap();
    };
    for living_is_ours in [false, true] {
        add();
        drop(net.open_at(net.pin_dir.clone(), "pbx0", None).unwrap());
        net.pbx.run("ip link del pbx0").unwrap();
        add();
        drop(net.open_at(other.clone(), "pbx0", None).unwrap());
        let [dead, living] = [&net.pin_dir, &other].map(|pins| pins.join("layout-1"));
        let theirs = net.pin_dir.join("layout-0");
        if living_is_ours {
            move_pins(&dead, &theirs);
            move_pins(&living, &dead);
        } else {
            move_pins(&living, &theirs);
        }
        let (mut xdp, notes) = net.open_at(net.pin_dir.clone(), "pbx0", None).unwrap();
        assert!(
            notes.contains(&"pbx0: adopted, generic".to_owned()),
            "{notes:?}"
        );
        assert!(net.interfaces(&mut xdp)[0].attached);
        assert_eq!(net.links(), 1);
        assert!(!theirs.exists());
        net.pbx.enter(|| xdp.detach().unwrap());
        net.pbx.run("ip link del pbx0").unwrap();
        let _ = fs::remove_dir(&other);
    }
}

/// The pins of one layout as those of another.
fn move_pins(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for pin in fs::read_dir(from).unwrap().flatten() {
        fs::rename(pin.path(), to.join(pin.file_name())).unwrap();
    }
    fs::remove_dir(from).unwrap();
}

/// Without descriptors nothing can be looked up, which does not mean that nothing is there.
#[test]
fn a_look_that_fails_lets_go_of_nothing() {
    if let Some(pin_dir) = std::env::var_os(VICTIM) {
        return look_without_descriptors(pin_dir.into());
    }
    let Some(net) = Net::new() else { return };
    let looked = net.this_test_again().output().unwrap();
    let said = String::from_utf8_lossy(&looked.stdout) + String::from_utf8_lossy(&looked.stderr);
    assert!(looked.status.success(), "{said}");
}

fn look_without_descriptors(pin_dir: PathBuf) {
    let mut xdp = guard(options(pin_dir, &["wan"])).unwrap().0;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
    let looked = xdp.reattach(&mut |_, _| Ok(()));
    let told = xdp.interfaces();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert!(matches!(looked, Err(Error::Interfaces(_))), "{looked:?}");
    assert!(matches!(told, Err(Error::Interfaces(_))), "{told:?}");
    assert!(xdp.interfaces().unwrap()[0].attached);
    assert_eq!(xdp.reattach(&mut |_, _| Ok(())).unwrap(), [""; 0]);
}

#[test]
fn the_watch_wakes_when_an_interface_comes_and_when_it_goes() {
    let Some(net) = Net::new() else { return };
    let watch = net.pbx.enter(LinkWatch::open).unwrap();
    let is_awake = || {
        let mut polled = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).unwrap() == 1
    };
    let until_quiet = || {
        wait_until("all that was told to be taken", PATIENCE, || {
            watch.drain();
            !is_awake()
        })
        .unwrap();
    };
    for change in ["ip link add late0 type bridge", "ip link del late0"] {
        // The interfaces of the test have only just come up.
        until_quiet();
        net.pbx.run(change).unwrap();
        wait_until(change, PATIENCE, is_awake).unwrap();
    }
    until_quiet();
}
