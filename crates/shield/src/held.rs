//! The bans that the maps hold, read as a whole, in few system calls; and in another thread, where
//! nobody may wait for a million of them.

use std::io;

use aya::maps::{
    HashMap, MapData,
    lpm_trie::{Key, LpmTrie},
};
use ipnet::IpNet;

use crate::{
    Ban, BootTime, EnforcedBan, Error, Scope, Target,
    abi::{BanAbi, BanKey},
    entries::{net, target_of},
    sys::Reader,
};

/// Reads the maps of bans.
pub struct HeldBans {
    singles: Reader<BanKey, BanAbi>,
    prefixes4: Reader<Key<[u8; 4]>, BanAbi>,
    prefixes6: Reader<Key<[u8; 16]>, BanAbi>,
}

impl HeldBans {
    /// Of these maps.
    pub fn of(
        singles: &HashMap<MapData, BanKey, BanAbi>,
        prefixes4: &LpmTrie<MapData, [u8; 4], BanAbi>,
        prefixes6: &LpmTrie<MapData, [u8; 16], BanAbi>,
    ) -> Result<Self, Error> {
        Ok(Self {
            singles: Reader::of(singles).map_err(in_map("bans"))?,
            prefixes4: Reader::of(prefixes4).map_err(in_map("prefix_bans4"))?,
            prefixes6: Reader::of(prefixes6).map_err(in_map("prefix_bans6"))?,
        })
    }

    /// For another thread.
    pub fn try_clone(&self) -> Result<Self, Error> {
        Ok(Self {
            singles: self.singles.try_clone().map_err(in_map("bans"))?,
            prefixes4: self.prefixes4.try_clone().map_err(in_map("prefix_bans4"))?,
            prefixes6: self.prefixes6.try_clone().map_err(in_map("prefix_bans6"))?,
        })
    }

    /// The bans of single targets, in no order.
    pub fn singles(&self) -> Result<Vec<(BanKey, BanAbi)>, Error> {
        self.singles.all().map_err(in_map("bans"))
    }

    /// The bans of prefixes, in order.
    pub fn prefixes(&self) -> Result<Vec<(IpNet, BanAbi)>, Error> {
        let v4 = self.prefixes4.all().map_err(in_map("prefix_bans4"))?;
        let v6 = self.prefixes6.all().map_err(in_map("prefix_bans6"))?;
        let of4 =
            |(key, ban): (Key<[u8; 4]>, BanAbi)| Some((net(key.data(), key.prefix_len())?, ban));
        let of6 =
            |(key, ban): (Key<[u8; 16]>, BanAbi)| Some((net(key.data(), key.prefix_len())?, ban));
        let mut prefixes: Vec<(IpNet, BanAbi)> = v4
            .into_iter()
            .filter_map(of4)
            .chain(v6.into_iter().filter_map(of6))
            .collect();
        prefixes.sort_unstable_by_key(|(prefix, _)| *prefix);
        prefixes.dedup_by_key(|(prefix, _)| *prefix);
        Ok(prefixes)
    }

    /// The bans in force, in the order of their targets.
    pub fn in_force(&self) -> Result<Vec<EnforcedBan>, Error> {
        let now = BootTime::now();
        let singles = self.singles()?.into_iter();
        let singles = singles.map(|(key, value)| (target_of(&key), value));
        let prefixes = self.prefixes()?.into_iter();
        let prefixes = prefixes.map(|(prefix, value)| (Target { prefix, port: None }, value));
        let scopes = |(target, value): (Target, BanAbi)| {
            [Scope::All, Scope::Sip].map(|scope| ban_of(target, scope, &value))
        };
        let mut bans: Vec<EnforcedBan> = singles
            .chain(prefixes)
            .flat_map(scopes)
            .filter(|held| held.ban.until > now)
            .collect();
        let key = |held: &EnforcedBan| (held.ban.target, held.ban.scope);
        bans.sort_unstable_by_key(key);
        bans.dedup_by_key(|held| key(held));
        Ok(bans)
    }
}

/// What an entry says of one scope; it ends at 0 where that is not banned. The kernel counts drops
/// by entry, so two scopes of one target show the same number.
pub fn ban_of(target: Target, scope: Scope, value: &BanAbi) -> EnforcedBan {
    let until = match scope {
        Scope::All => value.own_all_until_ns,
        Scope::Sip => value.own_sip_until_ns,
    };
    EnforcedBan {
        ban: Ban {
            target,
            scope,
            until: BootTime(until),
        },
        dropped_packets: value.dropped,
    }
}

fn in_map(map: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::Map {
        map,
        source: Box::new(error),
    }
}
