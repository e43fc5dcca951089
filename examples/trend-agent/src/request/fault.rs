//! Words of a request for qualities: those of which more is worse, and those of which more is better.

/// Words for qualities of which more is worse.
const FAULTS: [&str; 55] = [
    "stick*",
    "tacky",
    "greas*",
    "oily",
    "oili*",
    "dry",
    "dries",
    "drying",
    "dryer",
    "drier",
    "irritat*",
    "sting*",
    "burn*",
    "breakout*",
    "break out",
    "broke",
    "breaks",
    "breaking",
    "시림",
    "시리",
    "시려",
    "expensive",
    "pricey",
    "overpriced",
    "white cast",
    "pilling",
    "pills",
    "leak*",
    "heavy",
    "heavier",
    "shiny",
    "shine",
    "side effect*",
    "끈적",
    "건조하",
    "건조한",
    "자극",
    "트러블",
    "따가",
    "따갑",
    "비싸",
    "비싼",
    "번들",
    "백탁",
    "밀림",
    "밀리",
    "부작용",
    "무거",
    "무겁",
    "밀린",
    "밀려",
    "don't work",
    "doesn't work",
    "didn't work",
    "not work*",
];

/// Words for qualities of which more is better; a denial of one is an assertion and no exclusion.
const MERITS: [&str; 24] = [
    "moistur*",
    "moisturiz*",
    "moisturis*",
    "hydrating",
    "gentle*",
    "mild*",
    "lightweight",
    "cheap*",
    "affordab*",
    "long lasting",
    "long-lasting",
    "lasting",
    "last",
    "lasts",
    "brighten*",
    "soothing",
    "calming",
    "effective",
    "absorb*",
    "촉촉",
    "순한",
    "산뜻",
    "저렴",
    "가벼",
];

/// Whether a text names a fault.
pub(super) fn names_fault(lower: &str) -> bool {
    crate::text::mentions(lower, &FAULTS)
}

/// Whether a word is a quality that a product has or has not.
pub(super) fn is_quality(word: &str) -> bool {
    is_fault(word) || crate::text::mentions(word, &MERITS)
}

/// Whether a word names a fault.
pub(super) fn is_fault(word: &str) -> bool {
    FAULTS.iter().any(|fault| word.starts_with(fault.trim_end_matches('*')))
}

/// Whether a message (lower case) asks for the absence of a fault: "not sticky", "자극 없는", "끈적이지 않은".
pub(super) fn wants_absence(lower: &str) -> bool {
    let english =
        FAULTS.iter().filter(|fault| fault.is_ascii()).flat_map(|fault| crate::text::find(lower, fault));
    let english = english.into_iter().any(|(from, _)| {
        let before = lower[..from].trim_end_matches([' ', '-']);
        // "Don't leave a white cast": up to three words between.
        let clause = before.rsplit([',', '.', ';', '?', '!']).next().unwrap_or_default();
        let denied =
            clause.split_whitespace().rev().take(4).any(|word| word.ends_with("n't") || word == "without");
        denied
            || ["not", "no", "non", "without", "never", "n't", "not too", "less"]
                .iter()
                .any(|word| before.ends_with(word))
    });
    let korean =
        FAULTS.iter().filter(|fault| !fault.is_ascii()).flat_map(|fault| crate::text::find(lower, fault));
    let korean = korean.into_iter().any(|(from, to)| {
        let after = crate::text::head(&lower[to..], 10);
        let absent = ["지 않", "없는", "없이", "적은", "덜한"].iter().any(|word| after.contains(word));
        absent || lower[..from].ends_with(" 안 ") || lower[..from].ends_with("덜 ")
    });
    english || korean
}
