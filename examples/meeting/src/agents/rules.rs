//! Rules that find decisions, action items and questions in Korean and English sentences.
//!
//! Pure: no await, clock, lock or I/O.

use super::Meeting;
use crate::record::{ActionItem, Decision, OpenQuestion, Turn};

/// Phrases of decisions.
const DECISIONS: &[&str] = &[
    "기로 했",
    "기로 합",
    "기로 하",
    "기로 결정",
    "결정했",
    "결정하겠",
    "결정합",
    "결정됐",
    "확정",
    "정했습니다",
    "합의했",
    "합의합",
    "으로 가겠습니다",
    "로 가시죠",
    "we decided",
    "decided to",
    "we have decided",
    "let's go with",
    "we'll go with",
    "we will go with",
    "we agreed",
    "we agree to",
    "agreed to",
    "it's decided",
    "it is decided",
    "final decision",
    "is approved",
];

/// Phrases of tasks that the speaker takes.
const OWN_TASKS: &[&str] = &[
    "제가 하겠",
    "하겠습니다",
    "할게요",
    "보내겠습니다",
    "보낼게요",
    "준비하겠",
    "준비할게",
    "맡겠습니다",
    "맡을게",
    "작성하겠",
    "작성할게",
    "공유하겠",
    "공유할게",
    "확인하겠",
    "확인할게",
    "만들겠",
    "만들게요",
    "올리겠",
    "올릴게",
    "i'll ",
    "i will ",
    "i can take",
    "i am going to ",
    "i'm going to ",
];

/// Phrases of tasks that another person gets.
const TASKS: &[&str] = &[
    "부탁드",
    "부탁해",
    "해주세요",
    "해 주세요",
    "해주시",
    "해 주시",
    "맡아 주",
    "맡아주",
    "담당",
    "보내 주",
    "보내주",
    "준비해 주",
    "준비해주",
    "까지 해야",
    "할 일",
    "action item",
    "can you ",
    "could you ",
    "please ",
    "needs to ",
    "has to ",
    "is responsible for",
    "to do:",
    "todo:",
    "will send",
    "will prepare",
    "will write",
    "will check",
    "will take",
];

/// Words of due dates, the longest first.
const DUE: &[&str] = &[
    "이번 주 금요일까지",
    "다음 주 월요일까지",
    "다음 주까지",
    "이번 주까지",
    "이번 주 안에",
    "월요일까지",
    "화요일까지",
    "수요일까지",
    "목요일까지",
    "금요일까지",
    "토요일까지",
    "일요일까지",
    "오늘까지",
    "내일까지",
    "모레까지",
    "월말까지",
    "by the end of the week",
    "by the end of the month",
    "by next week",
    "by monday",
    "by tuesday",
    "by wednesday",
    "by thursday",
    "by friday",
    "by saturday",
    "by sunday",
    "by tomorrow",
    "by tonight",
    "by today",
    "on monday",
    "on tuesday",
    "on wednesday",
    "on thursday",
    "on friday",
    "next week",
    "tomorrow",
    "today",
];

/// Splits a text into sentences.
#[must_use]
pub fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let ends = match c {
            '?' | '!' | '。' | '？' | '\n' => true,
            // Not in 3.5 and not in "v1.2".
            '.' => characters.peek().is_none_or(|(_, next)| next.is_whitespace()),
            _ => false,
        };
        if ends {
            let end = at + c.len_utf8();
            found.push(text[start..end].trim());
            start = end;
        }
    }
    found.push(text[start..].trim());
    found.retain(|sentence| sentence.chars().any(char::is_alphanumeric));
    found
}

fn has(sentence: &str, phrases: &[&str]) -> bool {
    phrases.iter().any(|phrase| sentence.contains(phrase))
}

/// Returns whether a sentence is a question.
#[must_use]
pub fn is_question(sentence: &str) -> bool {
    let plain = sentence.trim_end_matches(['.', ' ', '!']);
    plain.ends_with(['?', '？'])
        || [
            "까요",
            "나요",
            "인가요",
            "은가요",
            "는가요",
            "습니까",
            "ㅂ니까",
            "입니까",
            "됩니까",
            "할까",
            "될까",
        ]
        .iter()
        .any(|end| plain.ends_with(end))
}

/// Returns the participant who is named in a sentence, or `None`.
fn named(meeting: &Meeting, sentence: &str) -> Option<String> {
    let found = meeting.participants.iter().filter_map(|person| {
        let at = find_name(sentence, &person.name.to_lowercase())?;
        Some((at, person.id.clone()))
    });
    found.min().map(|(_, id)| id)
}

/// Finds a name: in scripts with blanks as a whole word, in Korean with a particle behind it.
fn find_name(sentence: &str, name: &str) -> Option<usize> {
    if name.trim().is_empty() {
        return None;
    }
    // Korean speakers are called by their given name, without the family name.
    let is_hangul = |c: char| ('가'..='힣').contains(&c);
    let given: String = name.chars().skip(1).collect();
    let short = (name.chars().count() == 3 && name.chars().all(is_hangul)).then_some(given);
    [Some(name.to_owned()), short].into_iter().flatten().find_map(|name| {
        sentence.match_indices(&*name).map(|(at, _)| at).find(|at| {
            let before = sentence[..*at].chars().next_back();
            let after = sentence[at + name.len()..].chars().next();
            let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
            !is_letter(before) && (!is_letter(after) || after.is_some_and(is_hangul))
        })
    })
}

/// Returns the due date in a sentence, in its own words.
fn due(sentence: &str, lower: &str) -> Option<String> {
    let at = DUE.iter().find_map(|words| lower.find(words).map(|at| (at, words.len())));
    let (at, length) = at?;
    // Lower case may have another length than the original for a few letters of other scripts.
    sentence.get(at..at + length).or_else(|| lower.get(at..at + length)).map(str::to_owned)
}

fn owner(meeting: &Meeting, turn: &Turn, lower: &str) -> Option<String> {
    let says_i = lower.starts_with("제가 ")
        || lower.contains(" 제가 ")
        || lower.starts_with("저는 ")
        || has(lower, &["i'll ", "i will ", "i can take", "i'm going to ", "i am going to "]);
    if says_i {
        return turn.speaker.clone();
    }
    if let Some(person) = named(meeting, lower) {
        return Some(person);
    }
    has(lower, OWN_TASKS).then(|| turn.speaker.clone()).flatten()
}

/// Finds the decisions in a turn.
#[must_use]
pub fn decisions(meeting: &Meeting, turn: &Turn) -> Vec<Decision> {
    let decided = |sentence: &&str| {
        let lower = sentence.to_lowercase();
        has(&lower, DECISIONS) && !is_question(&lower)
    };
    let decision = |sentence: &str| {
        let lower = sentence.to_lowercase();
        // In a decision, "하겠습니다" is the decision and not a promise of the speaker.
        let speaker = lower.starts_with("제가 ") || lower.contains("i'll ") || lower.contains("i will ");
        let owner = if speaker { turn.speaker.clone() } else { named(meeting, &lower) };
        Decision { text: sentence.to_owned(), owner, item_ids: vec![turn.item_id.clone()] }
    };
    sentences(&turn.text).into_iter().filter(decided).map(decision).collect()
}

/// Finds the action items in a turn.
#[must_use]
pub fn action_items(meeting: &Meeting, turn: &Turn) -> Vec<ActionItem> {
    let item = |sentence: &str| {
        let lower = sentence.to_lowercase();
        let is_request =
            ["can you ", "could you ", "주시겠", "주실 수"].iter().any(|words| lower.contains(words));
        let is_task = has(&lower, OWN_TASKS) || has(&lower, TASKS);
        // "What should I do?" and "Let me start the meeting" are no tasks.
        let opens = has(&lower, &["시작하겠", "마치겠", "마무리하겠", "진행하겠", "결정하겠", "으로 가겠"]);
        (is_task && (!is_question(&lower) || is_request) && !opens).then(|| ActionItem {
            text: sentence.to_owned(),
            owner: owner(meeting, turn, &lower),
            due: due(sentence, &lower),
            item_ids: vec![turn.item_id.clone()],
        })
    };
    sentences(&turn.text).into_iter().filter_map(item).collect()
}

/// Finds the questions in a turn.
#[must_use]
pub fn questions(_: &Meeting, turn: &Turn) -> Vec<OpenQuestion> {
    let asked = sentences(&turn.text).into_iter().filter(|sentence| is_question(sentence));
    let question = |sentence: &str| OpenQuestion {
        text: sentence.to_owned(),
        speaker: turn.speaker.clone(),
        item_ids: vec![turn.item_id.clone()],
    };
    asked.map(question).collect()
}

/// Subjects of small talk.
const SMALL_TALK: &[&str] = &[
    "점심 뭐",
    "점심 메뉴",
    "날씨",
    "축구",
    "야구",
    "드라마",
    "영화 봤",
    "여행 갔",
    "휴가 때",
    "주말에 뭐",
    "맛집",
    "weather",
    "football",
    "baseball",
    "soccer",
    "movie",
    "netflix",
    "vacation",
    "holiday plans",
    "weekend",
    "lunch menu",
    "restaurant",
];

/// Returns whether a text is about a subject of small talk and shares no word with the title.
#[must_use]
pub fn is_small_talk(title: &str, text: &str) -> bool {
    let (title, text) = (title.to_lowercase(), text.to_lowercase());
    let words = title.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() > 1);
    has(&text, SMALL_TALK) && !words.into_iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Participant, SpeakerSource};

    fn meeting() -> Meeting {
        let person = |id: &str, name: &str| Participant { id: id.into(), name: name.into() };
        Meeting {
            title: "제품 출시".into(),
            language: "ko".into(),
            participants: vec![person("jimin", "김지민"), person("minsu", "민수"), person("ann", "Ann")],
        }
    }

    fn turn(text: &str) -> Turn {
        Turn {
            item_id: "a".into(),
            speaker: Some("jimin".into()),
            confidence: 1.0,
            text: text.into(),
            start_ms: 0,
            end_ms: 1,
            source: SpeakerSource::Declared,
            voice: None,
            print: None,
        }
    }

    #[test]
    fn decisions_are_found_with_their_owner() {
        let of = |text: &str| {
            let found = decisions(&meeting(), &turn(text));
            found.into_iter().map(|found| (found.text, found.owner)).collect::<Vec<_>>()
        };
        assert_eq!(
            of("출시일은 12월 3일로 하기로 했습니다. 좋네요."),
            [("출시일은 12월 3일로 하기로 했습니다.".into(), None)]
        );
        assert_eq!(
            of("Ann decided to ship v1.2 on Friday."),
            [("Ann decided to ship v1.2 on Friday.".into(), Some("ann".into()))]
        );
        assert_eq!(of("출시일을 3일로 하기로 했나요?"), []);
        assert_eq!(of("아직 정해진 것이 없습니다."), []);
    }

    #[test]
    fn action_items_have_owner_and_due_date_in_the_words_of_the_meeting() {
        let of = |text: &str| {
            let found = action_items(&meeting(), &turn(text));
            found.into_iter().map(|found| (found.owner, found.due)).collect::<Vec<_>>()
        };
        let who = |id: &str| Some(id.to_owned());
        assert_eq!(of("제가 금요일까지 견적서를 보내겠습니다."), [(who("jimin"), who("금요일까지"))]);
        assert_eq!(of("민수님이 홍보 문구를 준비해 주세요."), [(who("minsu"), None)]);
        assert_eq!(of("지민님은 내일까지 확인해주세요."), [(who("jimin"), who("내일까지"))]);
        assert_eq!(of("Ann, can you send the report by Friday?"), [(who("ann"), who("by Friday"))]);
        assert_eq!(of("I'll write the tests tomorrow."), [(who("jimin"), who("tomorrow"))]);
        assert_eq!(of("그럼 회의를 시작하겠습니다."), []);
        assert_eq!(of("제가 뭘 하면 될까요?"), []);
        assert_eq!(of("Banner annotations are fine."), []);
    }

    #[test]
    fn questions_are_found_in_both_languages() {
        assert!(is_question("예산은 얼마인가요"));
        assert!(is_question("What is the budget?"));
        assert!(!is_question("예산은 충분합니다."));
        assert_eq!(questions(&meeting(), &turn("좋아요. 누가 하죠?")).len(), 1);
    }

    #[test]
    fn small_talk_is_not_a_subject_of_the_title() {
        assert!(is_small_talk("제품 출시", "어제 축구 보셨어요?"));
        assert!(!is_small_talk("축구 대회 준비", "어제 축구 보셨어요?"));
        assert!(!is_small_talk("제품 출시", "출시일을 정합시다"));
    }
}
