//! Misspelled names: the known name that a caller probably meant.

/// Names longer than this are not compared.
const LONGEST: usize = 64;
/// Length from which a name is compared although the known name is present too.
const DISTINCT: usize = 6;

/// Returns the known name of which `name` is probably a misspelling. Case, `_` and `-` do not count.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let wanted = folded(name);
    let near = known.into_iter().filter_map(|known| {
        let candidate = folded(known);
        let shorter = wanted.chars().count().min(candidate.chars().count());
        let distance = strsim::damerau_levenshtein(&wanted, &candidate);
        (distance <= (shorter / 3).min(2)).then_some((distance, known))
    });
    near.min().map(|(_, known)| known)
}

/// Returns the first of the `present` names that is unknown and probably a misspelling, and the known name.
///
/// Short names, and plurals, are not taken for misspellings of a name that is present: `{"type": .., "time": ..}`.
pub(crate) fn misspelled<'n, 'k>(
    present: impl Iterator<Item = &'n str> + Clone,
    known: &[&'k str],
) -> Option<(&'n str, &'k str)> {
    let is_present = |name: &str| present.clone().any(|other| other == name);
    let is_plural = |name: &str, other: &str| name.strip_suffix('s') == Some(other);
    let unknown = present.clone().filter(|name| !known.contains(name));
    let mut meant = unknown.filter_map(|name| Some((name, nearest(name, known.iter().copied())?)));
    meant.find(|(name, known)| {
        !is_present(known)
            || (name.len().min(known.len()) >= DISTINCT && !is_plural(name, known) && !is_plural(known, name))
    })
}

fn folded(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognized_and_another_word_is_not() {
        let known = ["message", "session_id", "context", "webhook", "id", "type", "data"];
        for (name, meant) in [
            ("mesage", Some("message")),
            ("webhok", Some("webhook")),
            ("sessionId", Some("session_id")),
            ("SESSION-ID", Some("session_id")),
            ("contxt", Some("context")),
            ("dtaa", Some("data")),
            ("ID", Some("id")),
            ("ip", None),
            ("uid", None),
            ("text", None),
            ("user_id", None),
            ("zebra", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), meant, "{name}");
        }
        assert_eq!(nearest(&"message".repeat(10_000), known), None);
    }

    #[test]
    fn what_resembles_a_present_name_is_a_misspelling_only_if_it_is_long_and_no_plural() {
        let known = ["message", "type"];
        let found = |names: &'static [&'static str]| misspelled(names.iter().copied(), &known);
        assert_eq!(found(&["message", "mesage"]), Some(("mesage", "message")));
        assert_eq!(found(&["message", "messages"]), None);
        assert_eq!(found(&["messages"]), Some(("messages", "message")));
        assert_eq!(found(&["type", "time"]), None);
        assert_eq!(found(&["time"]), None);
        assert_eq!(found(&["tpye"]), Some(("tpye", "type")));
    }
}
