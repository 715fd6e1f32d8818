//! What becomes of interfaces that rules name: the same as under XDP.

use sipward_shield::{BootTime, Scope, Shield as _, nftables::Nftables};

use crate::net::{Net, ban};

/// The interface's wanted name and its own, and whether it is guarded.
fn only(net: &mut Net) -> (String, String, bool) {
    net.shield(|shield| {
        let only = shield.interfaces().unwrap().remove(0);
        (only.wanted, only.name, only.attached)
    })
}

fn called(wanted: &str, name: &str) -> (String, String, bool) {
    (wanted.to_owned(), name.to_owned(), true)
}

#[test]
fn a_renamed_interface_is_judged_on_until_another_one_has_its_name() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    net.shield(|shield| {
        let banned = ban("203.0.113.8", Scope::All, BootTime::NEVER);
        shield.ban(&banned).unwrap();
    });
    net.rename("wan", "outside");
    // Nobody has looked at it so far.
    assert!(!net.reaches("203.0.113.8"));
    net.shield(|shield| {
        let notes = shield.reattach(&mut |_, _| Ok(())).unwrap();
        assert_eq!(notes, ["the rules are for outside now"]);
        assert_eq!(shield.reattach(&mut |_, _| Ok(())).unwrap(), [""; 0]);
    });
    assert_eq!(only(&mut net), called("wan", "outside"));
    assert!(!net.reaches("203.0.113.8"));

    // Over a restart, and with nobody there.
    net.kill();
    assert!(!net.reaches("203.0.113.8"));
    net.open();
    net.shield(|shield| {
        shield.attach().unwrap();
    });
    assert_eq!(only(&mut net), called("wan", "outside"));
    assert!(!net.reaches("203.0.113.8"));

    // While nobody is there.
    net.kill();
    net.rename("outside", "beyond");
    assert!(!net.reaches("203.0.113.8"));
    net.open();
    net.shield(|shield| {
        shield.attach().unwrap();
    });
    assert_eq!(only(&mut net), called("wan", "beyond"));
    assert!(!net.reaches("203.0.113.8"));

    // Whoever bears the name goes before who bore it.
    net.kill();
    net.pbx.run("ip link add wan type bridge").unwrap();
    net.open();
    net.shield(|shield| {
        shield.attach().unwrap();
    });
    assert_eq!(only(&mut net), called("wan", "wan"));
    assert!(net.reaches("203.0.113.8"));
    let chains = net.pbx.run("nft list table inet sipward").unwrap();
    assert_eq!(chains.matches("chain guards-").count(), 1, "{chains}");
}

/// A chain that somebody jumps to is not deleted: `nft` takes all or nothing.
#[test]
fn rules_that_nft_did_not_take_are_written_at_the_next_check() {
    let Some(mut net) = Net::guarded() else {
        return;
    };
    net.shield(|shield| {
        let banned = ban("203.0.113.8", Scope::All, BootTime::NEVER);
        shield.ban(&banned).unwrap();
    });
    let table = net.pbx.run("nft list table inet sipward").unwrap();
    let mut words = table.split_whitespace();
    let mark = words.find(|word| word.starts_with("guards-")).unwrap();
    net.pbx.run("nft add chain inet sipward logged").unwrap();
    let jump = format!("nft add rule inet sipward logged jump {mark}");
    net.pbx.run(&jump).unwrap();

    let anothers = |shield: &mut Nftables| shield.reattach(&mut |_, _| Err("another's".to_owned()));
    net.shield(|shield| anothers(shield).unwrap_err());
    assert!(only(&mut net).2);
    assert!(!net.reaches("203.0.113.8"));

    net.pbx.run("nft flush chain inet sipward logged").unwrap();
    let notes = net.shield(|shield| anothers(shield).unwrap());
    assert_eq!(notes.last().unwrap(), "the rules are for no interface now");
    assert!(!only(&mut net).2);
    assert!(net.reaches("203.0.113.8"));
}
