//! Which logs there are to follow.

use std::path::{Path, PathBuf};

use sipward_asterisk::{
    config::{Disk, Tree},
    logger,
};

use crate::config::Asterisk;

/// Where Asterisk writes its logs unless it is told otherwise.
const FOLDER: &str = "/var/log/asterisk";
/// What the samples of `logger.conf` name, from Asterisk 11 to 22.
const NAMES: [&str; 6] = [
    "messages",
    "messages.log",
    "full",
    "full.log",
    "security",
    "security.log",
];

/// The logs that the configuration names, else those of `logger.conf` and of its samples, whether
/// they exist or not.
pub fn paths(config: &Asterisk) -> Vec<PathBuf> {
    let mut paths = config.logs.clone();
    if paths.is_empty() {
        let disk = Disk;
        let logging = logger::read(&mut Tree::new(&disk, &config.config_dir)).unwrap_or_default();
        let readable = logging.files.into_iter().filter(|file| !file.json);
        paths.extend(readable.map(|file| file.path));
        paths.extend(NAMES.iter().map(|name| Path::new(FOLDER).join(name)));
    }
    let mut found = Vec::new();
    for path in paths {
        // A variable of the shell stands for a name that only Asterisk knows.
        let is_known = found.contains(&path) || path.to_string_lossy().contains("${");
        if !is_known {
            found.push(path);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::paths;
    use crate::config::Asterisk;
    use std::{fs, path::PathBuf};

    fn asterisk(files: &[(&str, &str)]) -> (tempfile::TempDir, Asterisk) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let config = Asterisk {
            config_dir: folder.path().to_path_buf(),
            ..Asterisk::default()
        };
        (folder, config)
    }

    #[test]
    fn without_any_configuration_the_samples_names_are_followed() {
        let (_folder, config) = asterisk(&[]);
        let found = paths(&config);
        assert!(found.contains(&"/var/log/asterisk/messages".into()));
        assert!(found.contains(&"/var/log/asterisk/security".into()));
    }

    #[test]
    fn logger_conf_names_files() {
        let (_folder, config) = asterisk(&[(
            "logger.conf",
            "[general]\ndateformat=%F %T\n[logfiles]\nconsole => notice\n\
                 syslog.local0 => security\nmessages => notice,warning\n\
                 sec/all => [default]verbose(3),security\n",
        )]);
        let logs_folder = config.config_dir.join("log");
        let text = format!("[directories]\nastlogdir => {}\n", logs_folder.display());
        fs::write(config.config_dir.join("asterisk.conf"), text).unwrap();
        let found = paths(&config);
        let expected = ["messages", "sec/all"].map(|name| logs_folder.join(name));
        assert_eq!(found[..2], expected);
        assert!(!found.iter().any(|path| path.ends_with("console")));
    }

    #[test]
    fn what_sipward_is_told_to_follow_is_all_it_follows() {
        let (_folder, config) = asterisk(&[(
            "logger.conf",
            "[logfiles]\nmessages => notice\nsecurity => security\n",
        )]);
        let path = PathBuf::from("/var/log/asterisk/messages");
        let config = Asterisk {
            logs: vec![path.clone(), path.clone()],
            ..config
        };
        assert_eq!(paths(&config), [path]);
    }
}
