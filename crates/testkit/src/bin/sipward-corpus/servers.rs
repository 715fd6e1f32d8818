//! The PBX that all speak with, and the servers among the programs: an Asterisk in a branch office,
//! and a Kamailio at the edge of a network.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use sipward_testkit::asterisk::{Asterisk, Driver, ECHO_EXTENSION, Settings};
use sipward_testkit::kamailio::Kamailio;
use sipward_testkit::lab::{Lab, PBX, PHONES};

use crate::linger;

/// What FreePBX has its Asterisk call itself.
pub const FREEPBX: &str = "FPBX-16.0.40(18.20.0)";

/// Accounts of the branch office and of the edge.
const ACCOUNTS: std::ops::RangeInclusive<u16> = 101..=106;

/// Calls that begin at the command line.
const ORIGINATE: &str = "load=res_clioriginate.so\n";

/// The PBX: it asks every second whether its phones are there.
pub fn pbx() -> Settings {
    let mut contacts = String::new();
    for extension in 100..=199 {
        let _ = writeln!(contacts, "[{extension}](+type=aor)\nqualify_frequency = 2");
    }
    Settings {
        appended: BTreeMap::from([
            (
                "sip.conf",
                "[general](+)\nqualify = yes\nqualifyfreq = 2\ntransport = udp,tcp\n".to_owned(),
            ),
            (
                "sip_notify.conf",
                "[keep-alive]\nEvent => keep-alive\n".to_owned(),
            ),
            (
                "modules.conf",
                ORIGINATE.to_owned() + "load=res_pjsip_notify.so\n",
            ),
            (
                "pjsip_notify.conf",
                "[keep-alive]\nEvent => keep-alive\n".to_owned(),
            ),
            ("pjsip.conf", contacts),
        ]),
        ..Settings::default()
    }
}

/// Calls whoever is registered, sends a NOTIFY, and hangs up after a while.
pub fn call_phones(asterisk: &Asterisk) -> Result<()> {
    for (driver, technology, notify) in [
        (Driver::ChanSip, "SIP", "sip notify keep-alive"),
        (
            Driver::Pjsip,
            "PJSIP",
            "pjsip send notify keep-alive endpoint",
        ),
    ] {
        for registered in asterisk.registered(driver)? {
            // "101 : ..." in one driver, "101;@... : ..." in the other.
            let extension: String = registered
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            asterisk.cli(&format!("{notify} {extension}"))?;
            asterisk.cli(&format!(
                "channel originate {technology}/{extension} extension {ECHO_EXTENSION}@phones"
            ))?;
        }
    }
    linger(Duration::from_secs(3))?;
    asterisk.cli("channel request hangup all")?;
    linger(Duration::from_secs(1))
}

/// An Asterisk that is registered with the PBX through both drivers.
pub fn branch(user_agent: Option<&'static str>) -> Settings {
    let mut sip = "[general](+)\ndefaultexpiry = 10\n".to_owned();
    let mut pjsip = String::new();
    if let Some(user_agent) = user_agent {
        let _ = writeln!(sip, "useragent = {user_agent}");
        let _ = writeln!(pjsip, "[global]\ntype = global\nuser_agent = {user_agent}");
    }
    for account in ACCOUNTS {
        let password = Asterisk::password(account);
        let _ = writeln!(sip, "register => {account}:{password}@{PBX}/{account}");
        let _ = writeln!(
            pjsip,
            "[line-{account}]\ntype = registration\noutbound_auth = line-{account}\n\
             server_uri = sip:{PBX}:5062\nclient_uri = sip:{account}@{PBX}:5062\nexpiration = 20\n\
             [line-{account}]\ntype = auth\nauth_type = userpass\nusername = {account}\n\
             password = {password}"
        );
    }
    let _ = writeln!(sip, "mwi => 101:{}@{PBX}/101", Asterisk::password(101));
    let _ = writeln!(
        sip,
        "[main-office]\ntype = peer\nhost = {PBX}\ndefaultuser = 101\nfromuser = 101\n\
         remotesecret = {}\nqualify = yes\nqualifyfreq = 1\ncontext = phones",
        Asterisk::password(101)
    );
    let _ = writeln!(
        pjsip,
        "[main-office]\ntype = endpoint\naors = main-office\noutbound_auth = line-101\n\
         from_user = 101\ncontext = phones\ndisallow = all\nallow = ulaw\n\
         [main-office]\ntype = aor\ncontact = sip:{PBX}:5062\nqualify_frequency = 1\n\
         [main-office]\ntype = identify\nendpoint = main-office\nmatch = {PBX}"
    );
    Settings {
        extensions: None,
        appended: BTreeMap::from([
            ("modules.conf", ORIGINATE.to_owned()),
            ("sip.conf", sip),
            ("pjsip.conf", pjsip),
        ]),
        ..Settings::default()
    }
}

/// What such a branch was told to call itself.
pub fn user_agent(settings: &Settings) -> Option<String> {
    let lines = settings.appended.get("sip.conf")?.lines();
    let value = lines
        .filter_map(|line| line.strip_prefix("useragent = "))
        .next()?;
    Some(value.to_owned())
}

/// Calls both ways for half a minute.
pub fn trunks(office: &Asterisk, branch: &Asterisk) -> Result<()> {
    for _ in 0..5 {
        for technology in ["SIP", "PJSIP"] {
            for number in [ECHO_EXTENSION, "999"] {
                branch.cli(&format!(
                    "channel originate {technology}/{number}@main-office extension {ECHO_EXTENSION}@phones"
                ))?;
            }
        }
        linger(Duration::from_secs(2))?;
        branch.cli("channel request hangup all")?;
        call_phones(office)?;
    }
    Ok(())
}

/// Registers with the PBX as phones do, pings it as an edge does its servers and as a registrar
/// does those behind a NAT, and lets calls through.
const EDGE: &str = r#"
children=2
log_stderror=yes
auto_aliases=no
loadmodule "kex.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "nathelper.so"
loadmodule "dispatcher.so"
loadmodule "db_text.so"
loadmodule "uac.so"
modparam("usrloc", "nat_bflag", 6)
modparam("nathelper", "natping_interval", 2)
modparam("dispatcher", "list_file", "FOLDER/dispatcher.list")
modparam("dispatcher", "ds_ping_interval", 1)
modparam("dispatcher", "ds_probing_mode", 1)
modparam("dispatcher", "ds_ping_from", "sip:dispatcher@EDGE")
modparam("uac", "reg_db_url", "text://FOLDER")
modparam("uac", "reg_contact_addr", "EDGE:5060")
modparam("uac", "reg_timer_interval", 5)
modparam("uac", "restore_mode", "none")
request_route {
    if (!mf_process_maxfwd_header("10")) {
        exit;
    }
    if (is_method("REGISTER")) {
        setbflag(6);
        save("location");
        exit;
    }
    if (is_method("OPTIONS") && $rU == $null) {
        sl_send_reply("200", "OK");
        exit;
    }
    if (has_totag()) {
        if (loose_route()) {
            t_relay();
        }
        exit;
    }
    if (is_method("CANCEL")) {
        t_relay();
        exit;
    }
    if (!lookup("location")) {
        sl_send_reply("404", "Not Found");
        exit;
    }
    record_route();
    t_relay();
}
"#;

/// A Kamailio between the PBX and an Asterisk behind it, for a quarter of a minute.
pub fn edge(lab: &Lab, asterisk: &Asterisk) -> Result<()> {
    let mut lines = "id(int,auto) l_uuid(string) l_username(string) l_domain(string) \
                     r_username(string) r_domain(string) realm(string) auth_username(string) \
                     auth_password(string) auth_ha1(string,null) auth_proxy(string) expires(int) \
                     flags(int) reg_delay(int) contact_addr(string,null) socket(string,null)\n"
        .to_owned();
    for account in ACCOUNTS {
        let _ = writeln!(
            lines,
            "{account}:line-{account}:{account}:{PHONES}:{account}:{PBX}:asterisk:{account}:{}:\
             :sip\\:{PBX}\\:5060:20:0:0::",
            Asterisk::password(account)
        );
    }
    let mut register = "[general](+)\n".to_owned();
    for account in ACCOUNTS {
        let _ = writeln!(
            register,
            "register => line-{account}:none@{PHONES}/{account}"
        );
    }
    let files = BTreeMap::from([
        ("kamailio.cfg", EDGE.replace("EDGE", PHONES)),
        (
            "dispatcher.list",
            format!("1 sip:{PBX}:5060\n1 sip:{PBX}:5062\n"),
        ),
        (
            "version",
            "table_name(string) table_version(int)\nuacreg:5\n".to_owned(),
        ),
        ("uacreg", lines),
    ]);
    let _running = Kamailio::with_files(&lab.phones, &format!("{PHONES}:5060"), &files)?;
    std::fs::write(
        asterisk.config_folder().join("sip.conf"),
        std::fs::read_to_string(asterisk.config_folder().join("sip.conf"))? + &register,
    )?;
    asterisk.cli("sip reload")?;
    for _ in 0..4 {
        call_phones(asterisk)?;
    }
    Ok(())
}
