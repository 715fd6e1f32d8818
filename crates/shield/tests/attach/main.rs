//! The program on real interfaces, in network namespaces of its own: what stays when its process
//! dies, what a later start adopts, and what it refuses.
#![allow(
    clippy::print_stdout,
    reason = "how often a race was met, and the word of a process to its parent"
)]
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]

mod interfaces;
mod net;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::Stdio,
};

use aya::maps::{Array, Map, MapData};
use sipward_shield::{Error, Scope, Shield as _, XdpMode, xdp::Xdp};
use sipward_testkit::process::wait_until;

use self::net::{Net, PATIENCE, VICTIM, ban, guard, neighbour, options};

#[test]
fn protection_stays_when_the_process_dies_and_the_next_adopts_it() {
    let Some(net) = Net::new() else { return };
    assert!(net.reaches());
    let mut xdp = net.open(None).unwrap();
    assert!(net.reaches());
    ban(&mut xdp);
    assert!(!net.reaches());
    let bans = xdp.bans().unwrap();
    // What a kill leaves behind: closed descriptors, nothing else.
    drop(xdp);
    assert!(!net.reaches());

    let (mut xdp, notes) = net.reopen();
    assert!(
        notes.iter().any(|note| note == "wan: adopted, generic"),
        "{:?}",
        notes
    );
    assert!(!net.reaches());
    assert_eq!(xdp.bans().unwrap().len(), 1);
    assert_eq!(xdp.bans().unwrap()[0].ban, bans[0].ban);
    assert!(xdp.bans().unwrap()[0].dropped_packets >= 2);

    xdp.detach().unwrap();
    assert!(net.reaches());
    assert!(!net.pin_dir.exists());
}

#[test]
fn a_ban_that_a_killed_process_has_set_bites_whenever_it_was_killed() {
    if let Some(pin_dir) = std::env::var_os(VICTIM) {
        return ban_and_unban(pin_dir.into());
    }
    let Some(net) = Net::new() else { return };
    let (mut set, mut not_set) = (0, 0);
    for round in 0..20 {
        let mut victim = net
            .this_test_again()
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Each line is a ban or an end of one: killed right after a few, it is in the next.
        let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let bans = lines.map_while(Result::ok).filter(|line| line == BAN);
        assert_eq!(bans.take(1 + round % 7).count(), 1 + round % 7);
        victim.kill().unwrap();
        victim.wait().unwrap();

        let pin = net.pin_dir.join("layout-1/bans");
        let bans = Map::HashMap(MapData::from_pin(pin).unwrap());
        let bans = aya::maps::HashMap::<_, [u8; 24], [u8; 40]>::try_from(bans).unwrap();
        let is_set = bans.keys().next().is_some();
        assert_eq!(net.reaches(), !is_set, "round {round}");
        *(if is_set { &mut set } else { &mut not_set }) += 1;
    }
    println!("killed with the ban set {set} times, and {not_set} times without");
}

const BAN: &str = "ban";

/// Goes on until killed.
fn ban_and_unban(pin_dir: PathBuf) {
    let mut xdp = guard(options(pin_dir, &["wan"])).unwrap().0;
    loop {
        ban(&mut xdp);
        println!("{BAN}");
        xdp.unban(&neighbour(), Scope::Sip).unwrap();
    }
}

#[test]
fn the_mode_is_what_was_asked_for_and_generic_on_veth_by_default() {
    let Some(net) = Net::new() else { return };
    let modes = |xdp: &mut Xdp| {
        let list = net.interfaces(xdp);
        list.into_iter()
            .map(|guarded| (guarded.name, guarded.mode, guarded.attached))
            .collect::<Vec<_>>()
    };
    let mut xdp = net.open(None).unwrap();
    assert_eq!(
        modes(&mut xdp),
        [("wan".to_owned(), Some(XdpMode::Generic), true)]
    );
    drop(xdp);
    let mut xdp = net.open(Some(XdpMode::Native)).unwrap();
    assert_eq!(
        modes(&mut xdp),
        [("wan".to_owned(), Some(XdpMode::Native), true)]
    );
    ban(&mut xdp);
    assert!(!net.reaches());
}

#[test]
fn native_that_was_asked_for_and_cannot_be_is_an_error() {
    let Some(net) = Net::new() else { return };
    net.pbx.run("ip link add br0 type bridge").unwrap();
    let error = net
        .open_at(net.pin_dir.clone(), "br0", Some(XdpMode::Native))
        .err()
        .unwrap();
    assert!(matches!(error, Error::Attach { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "interface br0 refuses native XDP (Operation not supported (os error 95)): its driver has \
         no native XDP; take --xdp-mode generic"
    );
    let (mut xdp, _) = net.open_at(net.pin_dir.clone(), "br0", None).unwrap();
    assert_eq!(net.interfaces(&mut xdp)[0].mode, Some(XdpMode::Generic));
}

#[test]
fn a_start_that_fails_leaves_an_earlier_one_guarding() {
    let Some(net) = Net::new() else { return };
    net.pbx.run("ip link add br0 type bridge").unwrap();
    let mut xdp = net.open(None).unwrap();
    ban(&mut xdp);
    drop(xdp);
    // Another interface, on which native XDP is refused.
    let native = Some(XdpMode::Native);
    let error = net
        .open_at(net.pin_dir.clone(), "br0", native)
        .err()
        .unwrap();
    assert!(matches!(error, Error::Attach { .. }), "{error}");
    assert!(!net.reaches());

    // The same one, in a mode that is refused: the loopback has no native XDP.
    let pins = PathBuf::from(format!("{}-lo", net.pin_dir.display()));
    drop(net.open_at(pins.clone(), "lo", None).unwrap());
    assert!(
        net.pbx
            .run("ip link show lo")
            .unwrap()
            .contains("xdpgeneric")
    );
    net.open_at(pins.clone(), "lo", native).err().unwrap();
    assert!(
        net.pbx
            .run("ip link show lo")
            .unwrap()
            .contains("xdpgeneric")
    );
    fs::remove_dir_all(pins).unwrap();

    // And one that works takes the place of the first.
    let (_xdp, notes) = net.open_at(net.pin_dir.clone(), "br0", None).unwrap();
    assert!(
        notes
            .iter()
            .any(|note| note.starts_with("wan: no longer guarded")),
        "{notes:?}"
    );
    wait_until("the link to go with its pin", PATIENCE, || net.reaches()).unwrap();
}

#[test]
fn a_foreign_program_is_never_evicted() {
    let Some(net) = Net::new() else { return };
    let foreign_pins = PathBuf::from(format!("{}-foreign", net.pin_dir.display()));
    let (mut foreign, _) = net.open_at(foreign_pins.clone(), "wan", None).unwrap();
    for mode in [None, Some(XdpMode::Generic), Some(XdpMode::Native)] {
        let error = net.open(mode).err().unwrap();
        assert!(matches!(error, Error::Occupied { .. }), "{error}");
        let link = net.pbx.run("ip -details link show wan").unwrap();
        let id = link.split("prog/xdp id ").nth(1).unwrap();
        let id = id.split_whitespace().next().unwrap();
        let pin = foreign_pins.join("layout-1/link-");
        let whose = format!("shield (id {id}), pinned at \"{}", pin.display());
        assert!(error.to_string().contains(&whose), "{error}: {whose}");
    }
    assert!(net.interfaces(&mut foreign)[0].attached);
    ban(&mut foreign);
    assert!(!net.reaches());
    foreign.detach().unwrap();
    net.open(None).unwrap();
}

#[test]
fn where_one_of_two_interfaces_is_taken_the_other_is_left_alone() {
    let Some(net) = Net::new() else { return };
    net.pbx.run("ip link add second type bridge").unwrap();
    net.pbx.run("ip link set second up").unwrap();
    let foreign_pins = PathBuf::from(format!("{}-foreign", net.pin_dir.display()));
    let (mut foreign, _) = net.open_at(foreign_pins, "second", None).unwrap();
    let options = options(net.pin_dir.clone(), &["wan", "second"]);
    let error = net.pbx.enter(|| guard(options)).err().unwrap();
    assert!(matches!(error, Error::Occupied { .. }), "{error}");
    assert!(!net.pin_dir.exists());
    assert!(!net.pbx.run("ip link show wan").unwrap().contains("xdp"));
    foreign.detach().unwrap();
}

#[test]
fn what_has_no_ethernet_frames_is_refused() {
    let Some(net) = Net::new() else { return };
    net.pbx.run("ip tuntap add dev tun0 mode tun").unwrap();
    let error = net.open_at(net.pin_dir.clone(), "tun0", None).err();
    assert!(matches!(error, Some(Error::NotEthernet(_))), "{error:?}");
    assert!(!net.pin_dir.exists());
}

#[test]
fn a_pinned_map_of_another_shape_is_not_adopted() {
    let Some(net) = Net::new() else { return };
    drop(net.open(None).unwrap());
    let pins = net.pin_dir.join("layout-1");
    fs::remove_file(pins.join("bans")).unwrap();
    let foreign = Array::<MapData, u64>::create(4, 0).unwrap();
    foreign.pin(pins.join("bans")).unwrap();

    let (mut xdp, notes) = net.reopen();
    assert!(
        notes.iter().any(|note| note.contains("another shape")),
        "{:?}",
        notes
    );
    ban(&mut xdp);
    assert!(!net.reaches());
}

#[test]
fn pins_need_a_bpf_file_system() {
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let error = net
        .open_at(folder.path().join("pins"), "wan", None)
        .err()
        .unwrap();
    assert!(matches!(error, Error::Pin { .. }), "{error}");
    assert!(
        error.to_string().contains("not on a BPF file system"),
        "{error}"
    );
}
