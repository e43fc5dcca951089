//! What turns a word of opinion into its opposite, in Korean and English: negation, relief, and conditions.

use super::text::{find, is_hangul};
use super::topics::Topic;
use super::words::words;

/// How many words before a word can negate it: a trouble, and anything else.
const REACH: (usize, usize) = (5, 3);

/// How many words before a word "without" can be.
const WITHOUT_REACH: usize = 8;

/// How many words after a trouble can say that it went away.
const RELIEF_WORDS: usize = 5;

/// Parts of the body that have a condition ("my dry cheeks", "건조한 피부").
const BODY_ENGLISH: [&str; 20] = [
    "skin",
    "nose",
    "chin",
    "cheeks",
    "cheek",
    "lips",
    "lip",
    "forehead",
    "area",
    "areas",
    "patches",
    "spots",
    "face",
    "scalp",
    "hands",
    "eyelids",
    "eyes",
    "complexion",
    "zone",
    "t-zone",
];
const BODY_KOREAN: [&str; 14] =
    ["피부", "볼", "얼굴", "코", "입술", "턱", "이마", "부위", "날", "환절기", "계절", "겨울", "눈가", "곳"];

/// Words before a condition.
const OWNERS: [&str; 12] =
    ["my", "your", "her", "his", "our", "their", "on", "for", "with", "on", "these", "those"];

/// Words that end the reach of a negation.
const STOPS: [&str; 8] = ["and", "but", "so", "because", "which", "then", "just", "only"];

/// Words between a Korean trouble and the word for its absence ("속당김 걱정 없어요", "백탁 하나 없이").
const FILLERS: [&str; 26] = [
    "거의",
    "전혀",
    "하나도",
    "하나",
    "아예",
    "별로",
    "크게",
    "아무",
    "특별히",
    "1도",
    "일도",
    "걱정",
    "느낌",
    "현상",
    "증상",
    "기미",
    "문제",
    "필요",
    "같은 거",
    "같은 게",
    "같은 건",
    "따위",
    "게",
    "거",
    "것",
    "건",
];

/// Words before what another product is like.
const OTHERS_ENGLISH: [&str; 4] = ["rather than ", "instead of ", "unlike ", "as opposed to "];

/// Words after what another product is like.
const OTHERS_KOREAN: [&str; 6] = ["과 달리", "와 달리", "랑 달리", "과는 달리", "와는 달리", "과 다르게"];

/// Words before what holds for a short while only.
const SHORTLY: [&str; 6] = ["에만", "때만", "잠깐만", "순간만", "동안만", "처음만"];

/// Korean words for few.
const FEW: [&str; 7] = ["적고", "적어", "적은 ", "적었", "적다", "적네", "별로 없"];

/// What answers a question with no ("Brightening? Barely.").
const DENIALS: [&str; 8] = ["barely", "no", "nope", "not", "hardly", "meh", "never", "nah"];

/// Whether the word at `from..to` of a clause (lower case) is turned into its opposite by the words around it. `trouble` is
/// whether the word is bad.
pub(super) fn is_negated(
    clause: &str,
    (from, to): (usize, usize),
    trouble: bool,
    topic: Option<Topic>,
) -> bool {
    // A colour that is gone by noon is no relief.
    let eases =
        trouble && !matches!(topic, Some(Topic::Longevity | Topic::Shade | Topic::Price | Topic::Packaging));
    if clause[from..to].chars().any(is_hangul) {
        negated_korean(clause, (from, to), trouble) || (eases && relieved_after(clause, from, to))
    } else {
        negated_english(clause, from, to, trouble) || (eases && relieved_after(clause, from, to))
    }
}

/// Whether the trouble at `from..to` of a clause (lower case) is said to be less or gone.
pub(super) fn is_relieved(clause: &str, (from, to): (usize, usize)) -> bool {
    let before = latin_words(&clause[..from]);
    relieved_after(clause, from, to)
        || (!clause[from..to].chars().any(is_hangul)
            && before.iter().rev().take(4).any(|word| words().relievers.contains(word)))
}

/// Whether the word at `from..to` says what another product is like ("unlike my sticky one", "끈적한 선크림과 달리").
pub(super) fn is_of_another(clause: &str, (from, to): (usize, usize)) -> bool {
    OTHERS_ENGLISH.iter().any(|word| clause[..from].contains(word))
        || OTHERS_KOREAN.iter().any(|word| clause[to..].contains(word))
}

/// Whether the trouble at `from..to` is the condition of a part of the body, and not an opinion ("my flaky nose is smooth").
pub(super) fn is_condition(clause: &str, (from, to): (usize, usize)) -> bool {
    if clause[from..to].chars().any(is_hangul) {
        let rest: String = clause[to..].chars().take_while(|c| is_hangul(*c)).collect();
        let Some(next) = clause[to + rest.len()..].strip_prefix(' ') else { return false };
        // "뒤집어졌을 때 이것만 발라요": ㄹ before "때".
        let last = clause[..to + rest.len()].chars().next_back();
        let sometimes = ["때가 있", "때도 있", "때가 많", "때마다"].iter().any(|word| next.starts_with(word));
        if next.starts_with('때') && !sometimes && last.and_then(final_consonant) == Some(8) {
            return true;
        }
        let adnominal = match rest.chars().next_back() {
            None => true,
            Some(last) => final_consonant(last) == Some(4),
        };
        return rest.chars().count() <= 4
            && adnominal
            && BODY_KOREAN.iter().any(|part| next.starts_with(part));
    }
    let word = |text: &'static [&'static str], found: Option<&str>| found.is_some_and(|w| text.contains(&w));
    let not_word = |c: char| !(c.is_alphanumeric() || matches!(c, '\'' | '-' | '_'));
    let before = clause[..from].split(not_word).rfind(|word| !word.is_empty());
    let after = clause[to..].split(not_word).find(|word| !word.is_empty());
    word(&OWNERS, before) && word(&BODY_ENGLISH, after)
}

/// Spans of Korean words that wish for something ("컸으면", "낮았으면 좋겠어요").
pub(super) fn wishes_korean(clause: &str) -> Vec<(usize, usize)> {
    let wish = |at: usize| {
        let before = &clause[..at];
        // The past tense ends in ㅆ.
        let past = before.chars().next_back().and_then(final_consonant) == Some(20);
        let after = &clause[at + "으면".len()..];
        let ends = after.is_empty()
            || after.starts_with(['.', ',', '!', '?', '~', ' '])
            || [" 좋겠", " 싶"].iter().any(|verb| after.starts_with(verb));
        (past && ends).then(|| {
            let word: usize = before.chars().rev().take_while(|c| is_hangul(*c)).map(char::len_utf8).sum();
            let verb =
                [" 좋겠", " 싶"].iter().find(|verb| after.starts_with(**verb)).map_or(0, |verb| verb.len());
            (at - word, clause.len() - after.len() + verb)
        })
    };
    clause.match_indices("으면").filter_map(|(at, _)| wish(at)).collect()
}

/// Spans of "too" with the word after it ("too sweet"), unless it is negated or means "also".
pub(super) fn excesses(clause: &str) -> Vec<(usize, usize)> {
    let spans = clause.match_indices("too ").filter_map(|(at, found)| {
        let start = clause[..at].chars().next_back();
        let whole = !start.is_some_and(|c| c.is_alphanumeric() || matches!(c, '\'' | '_'));
        let after = &clause[at + found.len()..];
        let word =
            after.find(|c: char| !(c.is_ascii_lowercase() || c == '-')).map_or(after, |end| &after[..end]);
        let also = ["", "and", "but", "so", "for", "because", "many"].contains(&word);
        let last = clause[..at].split_whitespace().next_back();
        let negated = last.is_some_and(|word| words().negators.contains(&word) || word.ends_with("n't"));
        (whole && !also && !negated).then(|| (at, at + found.len() + word.len()))
    });
    spans.collect()
}

/// Whether a clause is neither good nor bad ("좋지도 나쁘지도 않은").
pub(super) fn is_undecided(clause: &str) -> bool {
    let korean = clause.match_indices("지도 ").any(|(at, found)| {
        let rest = &clause[at + found.len()..];
        let word: usize = rest.chars().take_while(|c| is_hangul(*c)).map(char::len_utf8).sum();
        let next = rest[word..].trim_start();
        rest[..word].ends_with("지도") && (next.starts_with('않') || next.starts_with('못'))
    });
    korean || clause.contains("neither good nor bad")
}

fn latin_words(text: &str) -> Vec<&str> {
    text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '\'' | '_')))
        .filter(|word| !word.is_empty())
        .collect()
}

fn negated_english(clause: &str, from: usize, to: usize, trouble: bool) -> bool {
    if clause[to..].starts_with("-free") || clause[..from].ends_with("non-") {
        return true;
    }
    if let Some(answer) = clause[to..].strip_prefix('?')
        && latin_words(answer).first().is_some_and(|word| DENIALS.contains(word))
    {
        return true;
    }
    // "Brightening yes, hydrating no".
    let rest = clause[to..].trim_matches(|c: char| !c.is_alphanumeric());
    if clause[to..].starts_with(' ') && DENIALS.contains(&rest) {
        return true;
    }
    let part = clause[..from].rsplit([';', ':']).next().unwrap_or_default();
    let before = latin_words(part);
    let before: Vec<&str> = before.into_iter().rev().take(WITHOUT_REACH).collect();
    let denied = before.windows(2).any(|pair| pair == ["that", "not"]);
    let reach = if trouble || denied { REACH.0 } else { REACH.1 };
    let mut turned = false;
    for (at, word) in before.iter().enumerate() {
        // "Not sticky and heavy": the negation covers a list of troubles.
        let list = trouble && before.get(at + 1).is_some_and(|next| words().bad.contains(next));
        if STOPS.contains(word) && !list {
            break;
        }
        // "Without turning my face into the Sahara".
        if at >= reach && *word != "without" {
            continue;
        }
        // "It should not come with a broken lid": an obligation denies nothing.
        let duty = before.get(at + 1).is_some_and(|next| ["should", "must"].contains(next));
        if duty || word.starts_with("shouldn") {
            break;
        }
        // "It is not that it does not hydrate": the first negation is denied.
        if turned && *word == "that" && before.get(at + 1) == Some(&"not") {
            return false;
        }
        let relieves = trouble && words().relievers.contains(word);
        // "I have never had plumper skin": a comparative that was never reached before.
        if *word == "never" && !trouble && clause[from..to].ends_with("er") {
            break;
        }
        if words().negators.contains(word) || *word == "non" || relieves {
            turned = !turned;
        }
    }
    turned
}

/// "My bumps settle", "좁쌀이 가라앉았어요": the trouble went away, in the same clause.
fn relieved_after(clause: &str, from: usize, to: usize) -> bool {
    let relief = &words().relief;
    if clause[from..to].chars().any(is_hangul) {
        return relief.iter().any(|word| word.starts_with(is_hangul) && clause[to..].contains(word));
    }
    let after =
        clause[to..].split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
    let after: Vec<&str> = after.take(RELIEF_WORDS).collect();
    let joined = after.join(" ");
    if relief.iter().any(|phrase| phrase.contains(' ') && !find(&joined, phrase).is_empty()) {
        return true;
    }
    after.iter().enumerate().any(|(at, word)| {
        // "Settles in the cracks" is no relief.
        let into = word.starts_with("settle")
            && after.get(at + 1).is_some_and(|next| ["in", "into", "on"].contains(next));
        relief.contains(word) && !into
    })
}

fn negated_korean(clause: &str, (from, to): (usize, usize), trouble: bool) -> bool {
    let before = clause[..from].trim_end();
    // "안 끈적여요", "덜 땅겨요": the short form is a separate word before the stem.
    let short = ['안', '못', '덜'].iter().find_map(|word| before.strip_suffix(*word));
    if short.is_some_and(|rest| !rest.chars().next_back().is_some_and(is_hangul)) {
        return true;
    }
    let after = &clause[to..];
    if !trouble && SHORTLY.iter().any(|word| before.ends_with(word)) {
        return true;
    }
    // "벗겨지기는커녕": far from it.
    let word: usize = after.chars().take_while(|c| is_hangul(*c)).map(char::len_utf8).sum();
    if after[..word].ends_with("커녕") {
        return true;
    }
    if long_form(after) || list_of_absences(after) {
        return true;
    }
    // "자극 없이", "끈적임이 전혀 없어요", "진정이 아니라": the thing itself is absent.
    let particles = ['이', '임', '은', '는', '도', '가', '감', '을', '함', '움', '한', '거', '림'];
    let mut rest = super::text::head(after, 20).trim_start_matches(particles).trim_start();
    for _ in 0..3 {
        let filler = FILLERS.iter().find_map(|filler| rest.strip_prefix(filler));
        rest = filler.map_or(rest, |rest| rest.trim_start_matches(particles).trim_start());
    }
    if trouble && (FEW.iter().any(|few| rest.starts_with(few))) {
        return true;
    }
    // "자극이 없지는 않아요": the absence is denied.
    let denied = [
        "없지는",
        "없지도",
        "없지 ",
        "없진",
        "없다고는 못",
        "없다고 할 순 없",
        "없다고는 할 수 없",
        "없다고 하긴",
    ];
    let starts = |words: &[&str]| words.iter().any(|word| rest.starts_with(word));
    starts(&["없", "못 느", "안 ", "덜", "아니", "제로"]) && !starts(&denied)
}

/// "끈적이지 않아요", "따갑지도 않고", "뒤집어지지 않고", "좋지도 나쁘지도 않은": the long form follows within the word.
fn long_form(after: &str) -> bool {
    let particles = ['도', '는', '가', '를', '만'];
    let ends = |rest: &str| ['않', '못', '안', '마', '말'].iter().any(|word| rest.starts_with(*word));
    after.char_indices().take(4).take_while(|(_, c)| is_hangul(*c)).any(|(at, c)| {
        // "없어지진 않아도": a particle may be contracted.
        if !['지', '진', '질'].contains(&c) {
            return false;
        }
        let rest = after[at + c.len_utf8()..].trim_start_matches(particles).trim_start_matches(' ');
        let word: usize = rest.chars().take_while(|c| is_hangul(*c)).map(char::len_utf8).sum();
        let second = rest[..word].trim_end_matches(particles).ends_with('지')
            && ends(rest[word..].trim_start_matches(' '));
        ends(rest) || second
    })
}

/// "끈적임도 향도 없어서": what is absent is a list.
fn list_of_absences(after: &str) -> bool {
    let Some((first, rest)) = after.split_once("도 ") else { return false };
    if first.chars().count() > 2 || !first.chars().all(is_hangul) {
        return false;
    }
    let word: usize = rest.chars().take_while(|c| is_hangul(*c)).map(char::len_utf8).sum();
    let mut next = rest[word..].trim_start();
    for filler in FILLERS {
        next = next.strip_prefix(filler).map_or(next, str::trim_start);
    }
    word > "도".len()
        && rest[..word].ends_with('도')
        && ["없", "안 ", "못 "].iter().any(|absent| next.starts_with(absent))
}

/// The number of the final consonant of a Hangul syllable: 4 is ㄴ, 20 is ㅆ; 0 for none.
fn final_consonant(c: char) -> Option<u32> {
    matches!(c, '\u{AC00}'..='\u{D7A3}').then(|| (u32::from(c) - 0xAC00) % 28)
}
