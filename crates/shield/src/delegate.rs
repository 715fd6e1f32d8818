//! The guarding and the private instance differ in what they are attached to, not in their maps.

/// Implements [`crate::Shield`] by a field `maps`, and by the given methods for the rest.
macro_rules! shield_by_maps {
    ($type:ty { $($rest:tt)* }) => {
        impl $crate::Shield for $type {
            fn set_policy(&mut self, policy: &$crate::Policy) -> Result<(), $crate::Error> {
                self.maps.set_policy(policy)
            }

            fn set_signatures(
                &mut self,
                tables: &sipward_signature::Tables,
            ) -> Result<u32, $crate::Error> {
                self.maps.set_signatures(tables)
            }

            fn ban(&mut self, ban: &$crate::Ban) -> Result<(), $crate::Error> {
                self.maps.ban_all(std::slice::from_ref(ban))
            }

            fn ban_all(&mut self, bans: &[$crate::Ban]) -> Result<(), $crate::Error> {
                self.maps.ban_all(bans)
            }

            fn unban(
                &mut self,
                target: &$crate::Target,
                scope: $crate::Scope,
            ) -> Result<u64, $crate::Error> {
                self.maps.unban(target, scope)
            }

            fn held(
                &self,
                target: &$crate::Target,
                scope: $crate::Scope,
            ) -> Result<Option<$crate::EnforcedBan>, $crate::Error> {
                self.maps.held(target, scope)
            }

            fn read_bans(&self) -> Result<$crate::ReadBans, $crate::Error> {
                self.maps.read_bans()
            }

            fn allow(&mut self, prefix: ipnet::IpNet) -> Result<(), $crate::Error> {
                self.maps.allow(prefix)
            }

            fn disallow(&mut self, prefix: ipnet::IpNet) -> Result<(), $crate::Error> {
                self.maps.disallow(prefix)
            }

            fn allowed(&self) -> Result<Vec<ipnet::IpNet>, $crate::Error> {
                self.maps.allowed()
            }

            fn allowed_count(&self) -> usize {
                self.maps.allowed_count()
            }

            fn trust(&mut self, source: std::net::IpAddr) -> Result<(), $crate::Error> {
                self.maps.trust(source)
            }

            fn distrust(&mut self, source: std::net::IpAddr) -> Result<(), $crate::Error> {
                self.maps.distrust(source)
            }

            fn trusted(&self) -> Result<Vec<std::net::IpAddr>, $crate::Error> {
                self.maps.trusted()
            }

            fn lift_ssh_limit(
                &mut self,
                sources: &[std::net::IpAddr],
                until: $crate::BootTime,
            ) -> Result<(), $crate::Error> {
                self.maps.lift_ssh_limit(sources, until)
            }

            fn counters(&self) -> Result<$crate::Counters, $crate::Error> {
                self.maps.counters()
            }

            fn fill(&self) -> Vec<$crate::Fill> {
                self.maps.fill()
            }

            fn drain_events(&mut self, sink: &mut dyn FnMut($crate::Event)) -> usize {
                self.maps.drain_events(sink)
            }

            $($rest)*
        }
    };
}

pub(crate) use shield_by_maps;
