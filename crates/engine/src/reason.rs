//! Why a packet passed or was dropped.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal => $name:literal,)+) => {
        /// Why the policy passed or dropped a packet. Every packet has exactly one; names and
        /// numbers are those of the kernel's counters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant = $number,)+
        }

        impl Reason {
            /// All reasons in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name that people and scripts see.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

reasons! {
    /// Passed: not IPv4 or IPv6.
    NotIp = 0 => "not-ip",
    /// Passed: headers that could not be read to the end.
    NotUnderstood = 1 => "not-understood",
    /// Passed: the source is on the allowlist.
    Allowed = 2 => "allowed",
    /// Passed: no TCP and no UDP, or a port that is not protected.
    NotProtected = 3 => "not-protected",
    /// Passed: a fragment without the transport header; the first one was judged.
    LaterFragment = 4 => "later-fragment",
    /// Passed: to a protected port, and nothing against it.
    Clean = 5 => "clean",
    /// Passed: as clean, and longer than what is scanned of a packet; the tap reads the rest.
    CleanLong = 6 => "clean-long",
    /// Dropped: the source is banned.
    Banned = 7 => "banned",
    /// Dropped: to a port that nobody has a reason to use.
    Tripwire = 8 => "tripwire",
    /// Dropped: the source sends more than its share.
    Rate = 9 => "rate",
    /// Dropped: all unknown sources together send more than their share; a retransmission passes.
    RateUnknown = 10 => "rate-unknown",
    /// Dropped: a first fragment too short to hold a SIP request, from an unknown source.
    TinyFragment = 11 => "tiny-fragment",
    /// Dropped: a scanner's signature.
    Signature = 12 => "signature",
}

impl Reason {
    /// The reason of this number, as the kernel reports it.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Whether a packet is dropped for it, where the mode is to protect.
    #[must_use]
    pub const fn is_drop(self) -> bool {
        match self {
            Self::NotIp
            | Self::NotUnderstood
            | Self::Allowed
            | Self::NotProtected
            | Self::LaterFragment
            | Self::Clean
            | Self::CleanLong => false,
            Self::Banned
            | Self::Tripwire
            | Self::Rate
            | Self::RateUnknown
            | Self::TinyFragment
            | Self::Signature => true,
        }
    }
}
