//! Texts made at random, read by both.

use sipward_asterisk::config::{Disk, Tree};

use crate::{Manager, Shown, bench};

/// A small generator with a fixed seed: the same texts in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        usize::try_from(self.0 >> 33).unwrap() % n
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// A configuration made of everything that the grammar has, right and wrong.
    fn text(&mut self, include: &[&str]) -> String {
        let headers = [
            "[a]",
            "[b](!)",
            "[c](a)",
            "[d](a,b)",
            "[a](+)",
            "[B](+)",
            "[e](!,a)",
            "[a](+,b)",
            "[general]",
            "[x y]",
            "[]",
            "[f]trailing",
            "[a](+TEMPLATES=include)",
            "[ a ]",
            "[g](+name=1)",
            "[general](+)",
            "[c](a)(b)",
            "[h](A)",
        ];
        let wrong = [
            "[nowhere](zz)",
            "[zz](+)",
            "[open",
            "[a](open",
            "= 5",
            "nothing here",
            "#",
            "#include",
            "#nonsense x",
            "\\ x=1",
            "#tryinclude absent.conf",
        ];
        let names = [
            "name",
            "Name",
            "value",
            "secret",
            "\\#hash",
            "\\[x",
            "two words",
            "a+b",
            "=",
            "",
        ];
        let operators = ["=", " = ", "=>", " => ", "+=", " += ", "=  >", "+=>"];
        let values = [
            "1",
            "yes",
            "a;b",
            "a\\;b",
            "\\;",
            ";",
            "x ;-- y --; z",
            ";-- open",
            "--;",
            " spaced  out ",
            "a=b=c",
            "\"q\"",
            "",
            ";--- z",
            "a\\\\;b",
            "-",
            "--",
            "x--;y",
        ];
        let mut out = String::new();
        if self.below(10) > 0 {
            out.push_str("[a]\n");
        }
        for _ in 0..self.below(25) {
            match self.below(14) {
                0..=3 => out.push_str(self.pick(&headers)),
                4 if self.below(12) == 0 => out.push_str(self.pick(&wrong)),
                5 if !include.is_empty() => {
                    let name = self.pick(include);
                    let quoted = [format!("\"{name}\""), format!("<{name}>"), name.to_owned()];
                    let quoted = quoted[self.below(3)].as_str();
                    out.push_str(&format!(
                        "{} {quoted}",
                        self.pick(&["#include", "#tryinclude", "#INCLUDE"])
                    ));
                }
                6 => out.push_str(self.pick(&[
                    ";-- comment",
                    "--;",
                    "; plain",
                    ";;--",
                    "",
                    "  ",
                    ";--",
                    " --; ",
                ])),
                _ => {
                    let (n, o, v) = (self.pick(&names), self.pick(&operators), self.pick(&values));
                    out.push_str(&format!("{n}{o}{v}"));
                }
            }
            out.push_str(self.pick(&["\n", "\n", "\n", "\r\n", " \n", "\t\n", " ; c\n"]));
        }
        out
    }
}

#[test]
fn texts_made_at_random_are_read_as_asterisk_reads_them() {
    const TEXTS: usize = 1500;
    let Some((namespace, asterisk)) = bench("audit-random") else {
        return;
    };
    let folder = asterisk.config_folder();
    let mut manager = Manager::login(&namespace);
    let mut random = Random(20_220_117);
    let (mut refused, mut variables) = (0, 0);
    for n in 0..TEXTS {
        std::fs::create_dir_all(folder.join("part")).unwrap();
        std::fs::write(folder.join("part/1.conf"), random.text(&[])).unwrap();
        std::fs::write(folder.join("part/2.conf"), random.text(&["part/1.conf"])).unwrap();
        let root = random.text(&[
            "part/1.conf",
            "part/2.conf",
            "part/*.conf",
            "part/{2,1}.conf",
            "part/[!2].conf",
        ]);
        std::fs::write(folder.join("random.conf"), &root).unwrap();
        let theirs = manager.config("random.conf");
        let mut tree = Tree::new(&Disk, &folder);
        let config = tree.read("random.conf").unwrap();
        let fatal = tree.notes.iter().find(|n| {
            n.problem.is_fatal() && tree.file(n.at).is_some_and(|f| f.shown == "random.conf")
        });
        let Some(theirs) = theirs else {
            assert!(fatal.is_some(), "text {n}: Asterisk refuses it\n{root}");
            refused += 1;
            continue;
        };
        assert!(
            fatal.is_none(),
            "text {n}: Asterisk takes it: {fatal:?}\n{root}"
        );
        let ours: Vec<Shown> = config
            .sections
            .iter()
            .map(|s| {
                let lines = s
                    .variables
                    .iter()
                    .map(|v| format!("{}={}", v.name, v.value));
                (s.name.to_string(), lines.collect())
            })
            .collect();
        variables += ours.iter().map(|(_, v)| v.len()).sum::<usize>();
        let parts = ["part/1.conf", "part/2.conf"]
            .map(|p| std::fs::read_to_string(folder.join(p)).unwrap());
        assert_eq!(
            ours, theirs,
            "text {n}\n{root}\n== 1\n{}\n== 2\n{}",
            parts[0], parts[1]
        );
    }
    println!("{TEXTS} texts, {refused} refused by both, {variables} variables equal");
    assert!(
        refused > TEXTS / 20 && variables > TEXTS,
        "{refused} refused, {variables} variables"
    );
}
