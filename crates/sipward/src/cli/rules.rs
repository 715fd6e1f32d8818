use clap::{Args, ValueEnum};
use ipnet::IpNet;
use jiff::Timestamp;

use super::Daemon;
use crate::{
    clock,
    config::Config,
    control::api::{AllowedView, BanView},
    daemon::plain_view,
    exit::{Answer, Exit, Failure},
    ledger::{self, Ledger},
    rules::{self, Family, Protection},
    signatures,
};

/// Print the protection as firewall rules, for a machine without the daemon
///
/// Allowlist, bans, limits and signatures, as far as the tool can say them; the rest is named in
/// comments. Bans and what was allowed by hand are asked of the daemon, else read from the ledger.
/// The rules touch no other table, or chain of another, than those in the file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward rules --format nftables > /etc/nftables.conf
  sipward rules --format iptables > /etc/iptables/rules.v4
  sipward rules --format ip6tables > /etc/iptables/rules.v6
  sipward rules --format iptables | iptables-restore --test")]
pub struct Arguments {
    /// Whose rules
    #[arg(long, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For `nft -f`: IPv4 and IPv6, no signatures
    Nftables,
    /// For `iptables-restore`: IPv4
    Iptables,
    /// For `ip6tables-restore`: IPv6
    Ip6tables,
}

/// Whom the rules let through and whom they drop.
struct Lists {
    allowed: Vec<IpNet>,
    bans: Vec<BanView>,
    note: Option<String>,
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let config = Config::load_or_default(self.daemon.config.as_deref())?;
        let (signatures, _) = signatures::load(&config.signatures)?;
        let Lists {
            mut allowed,
            bans,
            note,
        } = self.lists()?;
        allowed.extend(config.allowed());
        allowed.sort_unstable();
        allowed.dedup();
        let protection = Protection {
            config: &config,
            signatures: &signatures,
            allowed,
            bans,
            now: Timestamp::now(),
        };
        let text = match self.format {
            Format::Nftables => rules::nftables(&protection),
            Format::Iptables => rules::iptables(&protection, Family::V4),
            Format::Ip6tables => rules::iptables(&protection, Family::V6),
        };
        Ok(Answer {
            notes: note.into_iter().collect(),
            ..Answer::data(text)
        })
    }

    fn lists(&self) -> Result<Lists, Failure> {
        let client = self.daemon.client();
        match client.list::<BanView>(super::bans::IN_FORCE) {
            Ok(bans) => {
                let allowed: Vec<AllowedView> = client.get("/v1/allowed")?;
                Ok(Lists {
                    allowed: allowed.into_iter().map(|allowed| allowed.prefix).collect(),
                    bans,
                    note: None,
                })
            }
            Err(failure) if failure.exit == Exit::Unreachable => self.of_ledger(),
            Err(failure) => Err(failure),
        }
    }

    fn of_ledger(&self) -> Result<Lists, Failure> {
        let folder = &self.daemon.state_dir;
        let file = folder.join(ledger::FILE_NAME);
        if !file.exists() {
            return Ok(Lists {
                allowed: Vec::new(),
                bans: Vec::new(),
                note: Some(format!(
                    "no bans are in the rules: no daemon answers, and there is no {}",
                    file.display()
                )),
            });
        }
        let ledger = Ledger::open(folder)?;
        let names = ledger.allowed_names()?.into_iter();
        let named = names.flat_map(|name| name.addresses).map(IpNet::from);
        let allowed = ledger.allowed()?.into_iter().map(|(net, _)| net);
        let bans = ledger.bans(clock::now())?;
        Ok(Lists {
            allowed: allowed.chain(named).collect(),
            bans: bans.iter().map(plain_view).collect(),
            note: Some(format!(
                "no daemon answers: bans and allowlist are those of {}",
                file.display()
            )),
        })
    }
}
