//! Letters that stand for others, or for nothing, where names of files are compared.
//!
//! Invariant: both tables are sorted, of ranges that do not meet; what is beside them is a letter of its own.

/// Letters that some systems leave out when they compare names: the default-ignorable ones of Unicode, unassigned ones
/// too.
const UNSEEN_LETTERS: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fff8}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Letters that compatibility normalisation or case folding makes plain ones of (`ſ`, the Kelvin sign, full-width forms,
/// circled ones), from Unicode 14; `ß` is not among them: it is folded.
const VARIANT_LETTERS: &[(char, char)] = &[
    ('\u{aa}', '\u{aa}'),
    ('\u{b2}', '\u{b3}'),
    ('\u{b9}', '\u{ba}'),
    ('\u{bc}', '\u{be}'),
    ('\u{132}', '\u{133}'),
    ('\u{13f}', '\u{140}'),
    ('\u{149}', '\u{149}'),
    ('\u{17f}', '\u{17f}'),
    ('\u{1c4}', '\u{1cc}'),
    ('\u{1f1}', '\u{1f3}'),
    ('\u{2b0}', '\u{2b0}'),
    ('\u{2b2}', '\u{2b3}'),
    ('\u{2b7}', '\u{2b8}'),
    ('\u{2e1}', '\u{2e3}'),
    ('\u{37e}', '\u{37e}'),
    ('\u{1d2c}', '\u{1d2c}'),
    ('\u{1d2e}', '\u{1d2e}'),
    ('\u{1d30}', '\u{1d31}'),
    ('\u{1d33}', '\u{1d3a}'),
    ('\u{1d3c}', '\u{1d3c}'),
    ('\u{1d3e}', '\u{1d43}'),
    ('\u{1d47}', '\u{1d49}'),
    ('\u{1d4d}', '\u{1d4d}'),
    ('\u{1d4f}', '\u{1d50}'),
    ('\u{1d52}', '\u{1d52}'),
    ('\u{1d56}', '\u{1d58}'),
    ('\u{1d5b}', '\u{1d5b}'),
    ('\u{1d62}', '\u{1d65}'),
    ('\u{1d9c}', '\u{1d9c}'),
    ('\u{1da0}', '\u{1da0}'),
    ('\u{1dbb}', '\u{1dbb}'),
    ('\u{1e9a}', '\u{1e9a}'),
    ('\u{1fef}', '\u{1fef}'),
    ('\u{2024}', '\u{2026}'),
    ('\u{203c}', '\u{203c}'),
    ('\u{2047}', '\u{2049}'),
    ('\u{2070}', '\u{207a}'),
    ('\u{207c}', '\u{208a}'),
    ('\u{208c}', '\u{2093}'),
    ('\u{2095}', '\u{209c}'),
    ('\u{20a8}', '\u{20a8}'),
    ('\u{2100}', '\u{2103}'),
    ('\u{2105}', '\u{2106}'),
    ('\u{2109}', '\u{210e}'),
    ('\u{2110}', '\u{2113}'),
    ('\u{2115}', '\u{2116}'),
    ('\u{2119}', '\u{211d}'),
    ('\u{2120}', '\u{2122}'),
    ('\u{2124}', '\u{2124}'),
    ('\u{2128}', '\u{2128}'),
    ('\u{212a}', '\u{212a}'),
    ('\u{212c}', '\u{212d}'),
    ('\u{212f}', '\u{2131}'),
    ('\u{2133}', '\u{2134}'),
    ('\u{2139}', '\u{2139}'),
    ('\u{213b}', '\u{213b}'),
    ('\u{2145}', '\u{2149}'),
    ('\u{2150}', '\u{217f}'),
    ('\u{2189}', '\u{2189}'),
    ('\u{2460}', '\u{24ea}'),
    ('\u{2a74}', '\u{2a76}'),
    ('\u{2c7c}', '\u{2c7d}'),
    ('\u{3200}', '\u{3243}'),
    ('\u{3250}', '\u{325f}'),
    ('\u{32b1}', '\u{32cf}'),
    ('\u{3358}', '\u{337a}'),
    ('\u{3380}', '\u{33ff}'),
    ('\u{a7f2}', '\u{a7f4}'),
    ('\u{fb00}', '\u{fb06}'),
    ('\u{fb29}', '\u{fb29}'),
    ('\u{fe10}', '\u{fe10}'),
    ('\u{fe13}', '\u{fe16}'),
    ('\u{fe19}', '\u{fe19}'),
    ('\u{fe30}', '\u{fe30}'),
    ('\u{fe33}', '\u{fe38}'),
    ('\u{fe47}', '\u{fe48}'),
    ('\u{fe4d}', '\u{fe50}'),
    ('\u{fe52}', '\u{fe57}'),
    ('\u{fe59}', '\u{fe5c}'),
    ('\u{fe5f}', '\u{fe6b}'),
    ('\u{ff01}', '\u{ff5e}'),
    ('\u{107a5}', '\u{107a5}'),
    ('\u{1d400}', '\u{1d6a3}'),
    ('\u{1d7ce}', '\u{1d7ff}'),
    ('\u{1f100}', '\u{1f10a}'),
    ('\u{1f110}', '\u{1f12e}'),
    ('\u{1f130}', '\u{1f14f}'),
    ('\u{1f16a}', '\u{1f16c}'),
    ('\u{1f190}', '\u{1f190}'),
    ('\u{1fbf0}', '\u{1fbf9}'),
];

/// Whether nothing is seen of it, so that names with it and without it may be the same.
pub(super) fn is_unseen(letter: char) -> bool {
    !letter.is_ascii() && is_in(UNSEEN_LETTERS, letter)
}

/// Whether it is another spelling of ASCII letters or signs.
pub(super) fn is_variant(letter: char) -> bool {
    !letter.is_ascii() && is_in(VARIANT_LETTERS, letter)
}

fn is_in(ranges: &[(char, char)], letter: char) -> bool {
    let behind = ranges.partition_point(|(_, last)| *last < letter);
    ranges
        .get(behind)
        .is_some_and(|(first, _)| *first <= letter)
}

/// As a file system that knows no case compares it.
pub(super) fn folded(letter: char) -> impl Iterator<Item = char> {
    let (plain, twice) = match letter {
        'ß' | 'ẞ' => ('s', true),
        'ı' => ('i', false),
        letter => (letter, false),
    };
    let lower = plain.to_lowercase();
    lower.clone().chain(lower.filter(move |_| twice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted_and_their_ranges_do_not_meet() {
        for table in [UNSEEN_LETTERS, VARIANT_LETTERS] {
            assert!(table.iter().all(|(first, last)| first <= last));
            assert!(table.windows(2).all(|pair| match pair {
                [(_, last), (first, _)] => last < first,
                _ => false,
            }));
        }
    }
}
