//! `logger.conf`: to which files Asterisk writes what.

use std::path::{Path, PathBuf};

use crate::config::{Config, Place, Tree};

/// Where Asterisk writes its log when `asterisk.conf` does not say.
const LOG_DIR: &str = "/var/log/asterisk";

/// What `logger.conf` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logging {
    /// The files of `[logfiles]`, in order; neither the console nor syslog.
    pub files: Vec<LogFile>,
    /// The facilities of syslog that are written to, as `syslog.local0`.
    pub syslog: Vec<String>,
    /// `dateformat` of `[general]`, where it is set.
    pub date_format: Option<String>,
}

/// A line of `[logfiles]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Its path; `astlogdir` of `asterisk.conf` is before a relative name.
    pub path: PathBuf,
    /// The levels, in lower case.
    pub levels: Vec<String>,
    /// `[json]`: one JSON object a line, which [`crate::log`] does not read.
    pub json: bool,
    /// Where it is written.
    pub at: Place,
}

impl LogFile {
    /// Whether lines of this level (`security`) are written to it.
    #[must_use]
    pub fn has(&self, level: &str) -> bool {
        self.levels.iter().any(|it| it == level || it == "*")
    }
}

/// Reads `logger.conf`, and `asterisk.conf` for the folder; `None` where there is no `logger.conf`.
pub fn read(tree: &mut Tree<'_>) -> Option<Logging> {
    let logger = tree.read("logger.conf")?;
    let folder = tree.read("asterisk.conf").and_then(|config| {
        let directories = config.section("directories")?;
        Some(PathBuf::from(&*directories.last("astlogdir")?.value))
    });
    let folder = folder.unwrap_or_else(|| LOG_DIR.into());
    let date_format = logger
        .section("general")
        .and_then(|general| general.last("dateformat"))
        .map(|format| format.value.to_string());
    let mut logging = Logging {
        date_format,
        ..Logging::default()
    };
    logging.read_files(&logger, &folder);
    Some(logging)
}

impl Logging {
    fn read_files(&mut self, logger: &Config, folder: &Path) {
        let Some(section) = logger.section("logfiles") else {
            return;
        };
        for line in &section.variables {
            let name = &*line.name;
            if name.eq_ignore_ascii_case("console") {
                continue;
            }
            // As Asterisk: by the first letters.
            if name
                .get(..6)
                .is_some_and(|it| it.eq_ignore_ascii_case("syslog"))
            {
                self.syslog.push(name.to_owned());
                continue;
            }
            let value = line.value.trim();
            // A format in brackets may stand before the first level.
            let (format, levels) = match value.strip_prefix('[') {
                Some(rest) => rest.split_once(']').unwrap_or((rest, "")),
                None => ("", value),
            };
            self.files.push(LogFile {
                path: folder.join(name),
                levels: levels
                    .split(',')
                    .map(|level| level.trim().to_ascii_lowercase())
                    .filter(|level| !level.is_empty())
                    .collect(),
                json: format.trim().eq_ignore_ascii_case("json"),
                at: line.at,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Memory;

    fn logging(files: &[(&str, &str)]) -> Option<Logging> {
        let files = Memory::with(files.iter().copied());
        read(&mut Tree::new(&files, Path::new(Memory::ROOT)))
    }

    #[test]
    fn files_lie_in_the_folder_of_asterisk_conf_unless_they_say_otherwise() {
        let logging = logging(&[
            ("asterisk.conf", "[directories]\nastlogdir => /srv/log\n"),
            (
                "logger.conf",
                "[general]\ndateformat = %F %T\n[logfiles]\nconsole => notice\n\
                 messages => Notice, warning,error\n/tmp/all => *\nsyslog.local0 => security\n\
                 machines => [json]security\n",
            ),
        ])
        .unwrap();
        assert_eq!(logging.date_format.as_deref(), Some("%F %T"));
        assert_eq!(logging.syslog, ["syslog.local0"]);
        let files: Vec<_> = logging
            .files
            .iter()
            .map(|file| (file.path.to_str().unwrap(), file.has("security"), file.json))
            .collect();
        assert_eq!(
            files,
            [
                ("/srv/log/messages", false, false),
                ("/tmp/all", true, false),
                ("/srv/log/machines", true, true),
            ]
        );
        assert!(logging.files[0].has("notice") && logging.files[0].has("error"));
    }

    #[test]
    fn without_asterisk_conf_the_folder_is_the_usual_one() {
        let logging = logging(&[("logger.conf", "[logfiles]\nsecurity => security\n")]).unwrap();
        let path = &logging.files[0].path;
        assert_eq!(path, Path::new("/var/log/asterisk/security"));
    }

    #[test]
    fn a_tree_without_logger_conf_says_nothing() {
        assert_eq!(logging(&[("sip.conf", "[general]\n")]), None);
        let empty = logging(&[("logger.conf", "[general]\n")]);
        assert_eq!(empty, Some(Logging::default()));
    }
}
