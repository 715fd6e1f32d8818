//! Peers of a configuration tree.

use std::path::Path;

use ipnet::IpNet;
use sipward_asterisk::config::{Memory, Tree};
use sipward_asterisk::peers::{self, Peers, Why};

fn read(files: &[(&str, &str)]) -> Peers {
    let root = Path::new(Memory::ROOT);
    let mut memory = Memory::default();
    for (name, text) in files {
        memory.0.insert(root.join(name), text.as_bytes().to_vec());
    }
    peers::read(&mut Tree::new(&memory, root))
}

fn prefixes(peers: &Peers) -> Vec<String> {
    peers.prefixes.keys().map(ToString::to_string).collect()
}

fn names(peers: &Peers) -> Vec<&str> {
    peers.names.keys().map(String::as_str).collect()
}

#[test]
fn chan_sip_names_its_trunks_and_registrars() {
    let peers = read(&[(
        "sip.conf",
        "[general]\nregister => 200:se@cret@SIP.provider.example:5070/200~300\n\
         register => tls://201:secret@registrar.example\noutboundproxy=proxy.example:5061,force\n\
         [trunk](!)\ntype=peer\nhost=template.example\n\
         [one](trunk)\nhost=198.51.100.77\n[two]\ntype=peer\nhost=[2001:db8::7]:5060\n\
         [phone]\ntype=friend\nhost=dynamic\n[inherits](trunk)\n",
    )]);
    assert_eq!(
        names(&peers),
        [
            "proxy.example",
            "registrar.example",
            "sip.provider.example",
            "template.example"
        ]
    );
    assert_eq!(prefixes(&peers), ["198.51.100.77/32", "2001:db8::7/128"]);
    assert_eq!(peers.refused, []);
    let one: IpNet = "198.51.100.77/32".parse().unwrap();
    assert_eq!(peers.prefixes[&one].section, "one");
    assert_eq!(peers.prefixes[&one].option, "host");
    assert_eq!(
        peers.names["template.example"].section, "inherits",
        "one has a host of its own"
    );
}

#[test]
fn pjsip_names_its_trunks_and_registrars() {
    let peers = read(&[
        (
            "pjsip.conf",
            "[provider]\ntype=identify\nendpoint=provider\nmatch=198.51.100.0/24,198.51.100.77\n\
             match=203.0.113.128/255.255.255.128\nmatch=sip.provider.example\nmatch=2001:db8:7::/48\n\
             [reg]\ntype=registration\nserver_uri=sip:registrar.example:5070\\;transport=tcp\n\
             client_uri=sip:200@client.example\noutbound_proxy=sip:proxy.example\\;lr\n\
             [provider]\ntype=aor\ncontact=sip:200@gateway.example:5060\n",
        ),
        (
            "pjsip_wizard.conf",
            "[w]\ntype=wizard\nremote_hosts=w1.example:5060,198.51.100.9\n",
        ),
    ]);
    assert_eq!(
        names(&peers),
        [
            "gateway.example",
            "proxy.example",
            "registrar.example",
            "sip.provider.example",
            "w1.example"
        ]
    );
    assert_eq!(
        prefixes(&peers),
        [
            "198.51.100.0/24",
            "198.51.100.9/32",
            "198.51.100.77/32",
            "203.0.113.128/25",
            "2001:db8:7::/48"
        ]
    );
    assert_eq!(peers.refused, []);
}

#[test]
fn permit_opens_nothing_and_short_prefixes_are_reported() {
    let peers = read(&[
        (
            "sip.conf",
            "[200]\ntype=friend\nhost=dynamic\ndeny=0.0.0.0/0.0.0.0\npermit=0.0.0.0/0.0.0.0\n\
             permit=203.0.113.0/24\n[any]\ntype=peer\nhost=0.0.0.0\n",
        ),
        (
            "pjsip.conf",
            "[a]\ntype=identify\nmatch=0.0.0.0/0\nmatch=198.51.0.0/16\nmatch=2001:db8::/32\n\
             match=198.51.100\nmatch=bad host\n[b]\ntype=acl\npermit=198.51.100.0/24\n",
        ),
    ]);
    assert_eq!(prefixes(&peers), [] as [&str; 0]);
    assert_eq!(names(&peers), [] as [&str; 0]);
    let refused: Vec<(&str, Why)> = peers
        .refused
        .iter()
        .map(|refused| (refused.value.as_str(), refused.why))
        .collect();
    assert_eq!(
        refused,
        [
            ("0.0.0.0", Why::TooShort),
            ("0.0.0.0/0", Why::TooShort),
            ("198.51.0.0/16", Why::TooShort),
            ("2001:db8::/32", Why::TooShort),
            ("198.51.100", Why::NotAnAddress),
            ("bad host", Why::NotAnAddress),
        ]
    );
    assert!(peers.refused[1].why.to_string().contains("/24"));
    assert_eq!(peers.refused[1].at.at.line, 3);
}
