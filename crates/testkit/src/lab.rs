//! The network of the end-to-end tests:
//!
//! ```text
//!  attacker  203.0.113.7, 2001:db8:7::7   ──┐
//!            (and 203.0.113.0/25,            router ── pbx  192.0.2.1, 2001:db8:2::1
//!             2001:db8:bad::/48)            │         (eth0: the interface to guard)
//!  phones    198.51.100.10, 2001:db8:51::10 ┘
//! ```

use std::time::Duration;

use anyhow::Result;

use crate::link::{Cable, Delay, PacketSocket};
use crate::namespace::Namespace;

/// The PBX's IPv4 address.
pub const PBX: &str = "192.0.2.1";
/// The PBX's IPv6 address.
pub const PBX_V6: &str = "2001:db8:2::1";
/// The address from which scanners come by themselves.
pub const ATTACKER: &str = "203.0.113.7";
/// The same over IPv6.
pub const ATTACKER_V6: &str = "2001:db8:7::7";
/// The address behind which all phones are.
pub const PHONES: &str = "198.51.100.10";
/// The same over IPv6.
pub const PHONES_V6: &str = "2001:db8:51::10";

/// Four namespaces, joined. Interfaces: `eth0` in each but the router, whose are named after
/// whom they lead to.
#[derive(Debug)]
pub struct Lab {
    /// Where the PBX and its guard run.
    pub pbx: Namespace,
    /// Where scanners run; may bind to any address of 203.0.113.0/25 and 2001:db8:bad::/48.
    pub attacker: Namespace,
    /// Where phones run.
    pub phones: Namespace,
    /// Forwards between them.
    pub router: Namespace,
    injector: PacketSocket,
    pbx_mac: [u8; 6],
    router_mac: [u8; 6],
    // The threads end before the namespace in which they work.
    _cable: Option<(Cable, Namespace)>,
}

impl Lab {
    /// Builds it.
    ///
    /// # Errors
    /// Without root, or without iproute2.
    pub fn new() -> Result<Self> {
        Self::with_phones_behind(Delay::default())
    }

    /// Builds it with the phones this far away: a round trip between them and everybody else
    /// takes at least this long.
    ///
    /// # Errors
    /// As [`Lab::new`], and without ethtool.
    pub fn with_far_phones(round_trip: Duration) -> Result<Self> {
        Self::with_phones_behind(Delay {
            round_trip,
            jitter: Duration::ZERO,
        })
    }

    /// The same with jitter.
    ///
    /// # Errors
    /// As [`Lab::with_far_phones`].
    pub fn with_phones_behind(delay: Delay) -> Result<Self> {
        let [pbx, attacker, phones, router] =
            ["pbx", "attacker", "phones", "router"].map(Namespace::new);
        let (pbx, attacker, phones, router) = (pbx?, attacker?, phones?, router?);
        for parameter in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            router.set(parameter, "1")?;
        }
        let sides = [
            (&pbx, "pbx", PBX, "192.0.2.254", PBX_V6, "2001:db8:2::fe"),
            (
                &attacker,
                "attacker",
                ATTACKER,
                "203.0.113.254",
                ATTACKER_V6,
                "2001:db8:7::fe",
            ),
            (
                &phones,
                "phones",
                PHONES,
                "198.51.100.254",
                PHONES_V6,
                "2001:db8:51::fe",
            ),
        ];
        let mut cable = None;
        for (side, name, v4, gateway_v4, v6, gateway_v6) in sides {
            if name == "phones" && delay != Delay::default() {
                let far = Namespace::new("cable")?;
                side.veth("eth0", &far, "near")?;
                router.veth(name, &far, "far")?;
                side.offload("eth0", "tx", false)?;
                router.offload(name, "tx", false)?;
                cable = Some((Cable::lay(&far, ["near", "far"], delay)?, far));
            } else {
                side.veth("eth0", &router, name)?;
            }
            side.address("eth0", &format!("{v4}/24"))?;
            side.address("eth0", &format!("{v6}/64"))?;
            router.address(name, &format!("{gateway_v4}/24"))?;
            router.address(name, &format!("{gateway_v6}/64"))?;
            side.route("default", gateway_v4)?;
            side.route("default", gateway_v6)?;
        }
        // Half of the /24 only: the gateway's own address must not become the attacker's.
        router.route("2001:db8:bad::/48", ATTACKER_V6)?;
        for prefix in ["203.0.113.0/25", "2001:db8:bad::/48"] {
            attacker.own_all(prefix)?;
        }
        Ok(Self {
            injector: PacketSocket::open(&router, "pbx")?,
            pbx_mac: pbx.mac("eth0")?,
            router_mac: router.mac("pbx")?,
            pbx,
            attacker,
            phones,
            router,
            _cable: cable,
        })
    }

    /// Sets the MTU of the link between router and PBX, on both ends.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn pbx_mtu(&self, bytes: u16) -> Result<()> {
        self.pbx.mtu("eth0", bytes)?;
        self.router.mtu("pbx", bytes)
    }

    /// Puts a frame on the PBX's link as if the router had forwarded it; its Ethernet addresses
    /// are replaced by the link's.
    ///
    /// # Errors
    /// If it is longer than the link's MTU.
    pub fn inject(&self, frame: &[u8]) -> Result<()> {
        let mut frame = frame.to_vec();
        frame[..6].copy_from_slice(&self.pbx_mac);
        frame[6..12].copy_from_slice(&self.router_mac);
        self.injector.send(&frame)
    }
}
