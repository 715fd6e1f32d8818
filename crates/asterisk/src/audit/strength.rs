//! How long a password lasts against somebody who guesses.

use std::collections::HashMap;
use std::num::NonZero;
use std::thread;

/// What a guesser makes of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strength {
    /// Found within 100 million guesses: hours, at the rate that a SIP server answers.
    Weak,
    /// Found within 10 thousand million guesses: weeks on line, minutes once a login was overheard.
    Fair,
    /// Not found.
    Strong,
}

/// Longer texts than this are judged by their beginning.
const JUDGED: usize = 64;

/// Judges `(password, words it must not be made of)`, each pair once, on all processors.
pub(super) fn judge(passwords: &[(&str, &[String])]) -> Vec<Strength> {
    let mut unique: Vec<(&str, &[String])> = Vec::new();
    let mut index: HashMap<(&str, &[String]), usize> = HashMap::new();
    let order: Vec<usize> = passwords
        .iter()
        .map(|&pair| {
            *index.entry(pair).or_insert_with(|| {
                unique.push(pair);
                unique.len() - 1
            })
        })
        .collect();
    let workers = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(8);
    let share = unique.len().div_ceil(workers).max(1);
    let verdicts: Vec<Strength> = thread::scope(|scope| {
        let one = |part: &[(&str, &[String])]| -> Vec<Strength> {
            part.iter().map(|(p, w)| strength(p, w)).collect()
        };
        let running: Vec<_> = unique
            .chunks(share)
            .map(|part| scope.spawn(move || one(part)))
            .collect();
        // A worker that died judged nothing: weak is the side to err on.
        let results = unique.chunks(share).zip(running);
        results
            .flat_map(|(part, w)| {
                w.join()
                    .unwrap_or_else(|_| vec![Strength::Weak; part.len()])
            })
            .collect()
    });
    order
        .iter()
        .map(|&i| verdicts.get(i).copied().unwrap_or(Strength::Weak))
        .collect()
}

/// One password.
pub(super) fn strength(password: &str, words: &[String]) -> Strength {
    let end = password
        .char_indices()
        .nth(JUDGED)
        .map_or(password.len(), |(at, _)| at);
    let password = password.get(..end).unwrap_or(password);
    if plainly_random(password, words) {
        return Strength::Strong;
    }
    // Looking for words that cannot be in it costs a third of the time.
    let lower: String = password.to_lowercase();
    let letters: String = lower.bytes().map(|b| char::from(unleet(b))).collect();
    let backwards: String = letters.chars().rev().collect();
    let found = |w: &&str| [&lower, &letters, &backwards].iter().any(|t| t.contains(w));
    let words: Vec<&str> = words.iter().map(String::as_str).filter(found).collect();
    match zxcvbn::zxcvbn(password, &words).guesses_log10() {
        g if g < 8.0 => Strength::Weak,
        g if g < 10.0 => Strength::Fair,
        _ => Strength::Strong,
    }
}

/// Generated and long: not worth the dictionary search, which costs 50 µs and more. A tree of 50,000
/// accounts is mostly these. Errs on the side of the search: what could be a word, a date, a walk
/// over the keyboard or a repeat counts for as little as a dictionary would make of it.
fn plainly_random(password: &str, words: &[String]) -> bool {
    const LENGTH: usize = 12;
    /// Powers of ten that a guesser needs.
    const ENOUGH: f64 = 10.0;
    const LONGEST_DOUBT: usize = 6;
    let bytes = password.as_bytes();
    if bytes.len() < LENGTH || !password.is_ascii() {
        return false;
    }
    let lower = password.to_ascii_lowercase();
    if words
        .iter()
        .any(|w| w.len() > 2 && lower.contains(w.as_str()))
        || repeats(bytes)
    {
        return false;
    }
    // Hexadecimal keys read as words would look like one long word: vowels, and digits in disguise.
    let key = bytes.len() >= 16 && bytes.iter().all(u8::is_ascii_hexdigit);
    let letter = |b: u8| if key { b } else { unleet(b) };
    let plain: Vec<u8> = lower.bytes().map(letter).collect();
    let wordlike = runs(&plain, in_words);
    let digits = runs(bytes, |a, b| a.is_ascii_digit() && b.is_ascii_digit());
    let walks = runs(lower.as_bytes(), beside);
    let mut powers = 0.0;
    let mut in_doubt = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let part = |runs: &[usize], least| runs.get(at).copied().filter(|&n| n >= least);
        let regular = part(&walks, 3).max(part(&digits, 4));
        let word = part(&wordlike, 4);
        // The commonest words, years and walks are worth no more than one random character.
        powers += 1.0;
        let length = word.max(regular).unwrap_or(1);
        let letters = bytes.get(at..at + length).unwrap_or_default();
        let plain = letters.iter().filter(|b| !b.is_ascii_alphabetic()).count() <= 1;
        // The part before may have taken the beginning of a word.
        let whole = at
            .checked_sub(1)
            .is_none_or(|i| wordlike.get(i) == Some(&1));
        if word > regular && plain && whole && length <= LONGEST_DOUBT {
            in_doubt.extend(password.get(at..at + length));
        }
        at += length;
    }
    // A few letters that only look like a word are asked for by themselves, which is cheap.
    for letters in in_doubt {
        if powers >= ENOUGH {
            break;
        }
        powers += zxcvbn::zxcvbn(letters, &[]).guesses_log10() - 1.0;
    }
    powers >= ENOUGH
}

/// For each byte, how long the run is that starts there and in which each pair fits.
fn runs(bytes: &[u8], fits: impl Fn(u8, u8) -> bool) -> Vec<usize> {
    let mut lengths = vec![1; bytes.len()];
    for (at, pair) in bytes.windows(2).enumerate().rev() {
        if let (&[a, b], Some(&next)) = (pair, lengths.get(at + 1))
            && fits(a, b)
            && let Some(here) = lengths.get_mut(at)
        {
            *here = next + 1;
        }
    }
    lengths
}

/// Four bytes that come twice.
fn repeats(bytes: &[u8]) -> bool {
    let mut seen: Vec<&[u8]> = bytes.windows(4).collect();
    seen.sort_unstable();
    seen.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
}

/// The letter that a digit or sign stands for in `P@ssw0rd`.
fn unleet(byte: u8) -> u8 {
    match byte {
        b'0' => b'o',
        b'1' | b'!' | b'|' => b'i',
        b'3' => b'e',
        b'4' | b'@' => b'a',
        b'5' | b'$' => b's',
        b'7' | b'+' => b't',
        b'8' => b'b',
        b'9' | b'6' => b'g',
        b'2' => b'z',
        other => other,
    }
}

/// Two letters that stand side by side in words and names.
fn in_words(a: u8, b: u8) -> bool {
    const CONSONANTS: &[u8] = b"bbbdblbrbsbtccchckclcrctdddgdldrdsdtdwffflfrftggghglgmgngrgsgt\
        hlhmhnhrhshthwkkklknkrksktldlflglhlklllmlnlplrlsltlvlzmbmfmlmmmnmpmrmsmtnbncndnfngnhnjnknl\
        nmnnnpnrnsntnvnwnzphpfplppprpsptrbrcrdrfrgrhrjrkrlrmrnrprrrsrtrvrwrzsbscsdsfsgshskslsmsnsp\
        sqsrssstsvswsztbtctftgthtltmtntrtstttwtzvrwbwhwlwnwrwsxcxpxtzlztzwzz";
    let vowel = |c: u8| b"aeiouy".contains(&c);
    match (a, b) {
        (a, b) if !a.is_ascii_alphabetic() || !b.is_ascii_alphabetic() => false,
        (b'q', b) => b == b'u',
        (a, b) if vowel(a) || vowel(b) => true,
        (a, b) => CONSONANTS.chunks_exact(2).any(|pair| pair == [a, b]),
    }
}

/// Two keys side by side, the same key, or neighbours in the alphabet.
fn beside(a: u8, b: u8) -> bool {
    const ROWS: [&[u8]; 6] = [
        b"1234567890",
        b"qwertyuiop",
        b"asdfghjkl",
        b"zxcvbnm",
        b"qwertzuiop",
        b"yxcvbnm",
    ];
    let place = |row: &[u8], key: u8| row.iter().position(|&k| k == key);
    if a.abs_diff(b) <= 1 {
        return true;
    }
    let rows = || ROWS.iter().zip([0, 1, 2, 3, 1, 3]);
    rows().any(|(one, i)| {
        rows().any(|(other, j): (_, usize)| {
            matches!((place(one, a), place(other, b)),
                (Some(x), Some(y)) if x.abs_diff(y) <= 1 && j.abs_diff(i) <= 1)
        })
    })
}

/// A code of digits that somebody would try early: one digit repeated, a run up or down, a
/// well-known way over the keypad, a year.
pub(super) fn guessable_digits(code: &str) -> bool {
    let digits: Vec<u8> = code.bytes().collect();
    let step = |f: fn(u8, u8) -> bool| digits.windows(2).all(|w| matches!(w, [a, b] if f(*a, *b)));
    let year = code.len() == 4 && (code.starts_with("19") || code.starts_with("20"));
    let repeated = (1..=digits.len() / 2)
        .filter(|n| digits.len().is_multiple_of(*n))
        .any(|n| {
            let mut parts = digits.chunks(n);
            let first = parts.next();
            parts.all(|part| Some(part) == first)
        });
    step(|a, b| a == b)
        || step(|a, b| b == a.wrapping_add(1))
        || step(|a, b| b == a.wrapping_sub(1))
        || year
        || repeated
        || ["2580", "0852", "1470", "3690", "1590", "7410"].contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("1234", Strength::Weak)]
    #[test_case("100100", Strength::Weak; "the extension twice")]
    #[test_case("Summer2024!", Strength::Weak; "a word and a year")]
    #[test_case("asterisk", Strength::Weak; "the realm")]
    #[test_case("qwertyuiop123456", Strength::Weak; "keyboard runs")]
    #[test_case("abcdabcdabcdabcd", Strength::Weak; "a repeat")]
    #[test_case("P@ssw0rd2024!", Strength::Weak; "a word in disguise")]
    #[test_case("1qaz2wsx3edc", Strength::Weak; "a walk over the keyboard")]
    #[test_case("Summer9winter", Strength::Fair; "two words")]
    #[test_case("f3a97c1be0d24586", Strength::Strong; "hexadecimal")]
    #[test_case("xK7#mQ2$vL9p", Strength::Strong; "twelve random characters")]
    #[test_case("orbit-velvet-canyon-thimble", Strength::Strong; "four random words")]
    fn passwords(password: &str, expected: Strength) {
        let words = ["100".to_owned(), "asterisk".to_owned()];
        assert_eq!(strength(password, &words), expected);
    }

    /// What the shortcut takes for strong, the dictionary search must not find: words, dates and
    /// walks put together in many ways, and random ones beside them.
    #[test]
    fn the_shortcut_never_hides_a_weak_password() {
        let parts = [
            "dragon", "P@ssw0rd", "Summer", "l0ve", "2024", "1987", "qwertz", "asdf", "123456",
            "!!", "monkey", "abc", "!2#", "sunsh1ne", "Anna", "xK7#", "q9Z", "zxcvbn", "19041987",
        ];
        let mut taken = 0;
        for a in parts {
            for b in parts {
                for c in parts {
                    let password = format!("{a}{b}{c}");
                    if plainly_random(&password, &[]) {
                        taken += 1;
                        let guesses = zxcvbn::zxcvbn(&password, &[]).guesses_log10();
                        assert!(guesses >= 10.0, "{password}: 10^{guesses}");
                    }
                }
            }
        }
        let random = [
            "f3a97c1be0d24586f3b1",
            "xK7#mQ2$vL9pRt5n",
            "Zr9wHb5c2LqQ7xKd0xV",
        ];
        assert!(
            random.iter().all(|r| plainly_random(r, &[])),
            "the shortcut takes nothing"
        );
        assert!(taken < 100, "{taken} taken");
    }

    #[test_case("1111", true)]
    #[test_case("4567", true)]
    #[test_case("9876", true)]
    #[test_case("1987", true)]
    #[test_case("4747", true)]
    #[test_case("565656", true)]
    #[test_case("7351", false)]
    fn codes(code: &str, expected: bool) {
        assert_eq!(guessable_digits(code), expected);
    }
}
