//! The nearest known name to one that is not known.

/// The known name most like `name`, when one is like it at all.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance takes quadratic time; no sensible name is that long.
    if name.len() > 128 {
        return None;
    }
    let lower = name.to_lowercase();
    known
        .into_iter()
        .filter_map(|candidate| {
            let other = candidate.to_lowercase();
            let distance = strsim::damerau_levenshtein(&lower, &other);
            // A third of the letters may be wrong; an extension of the name is near as well.
            let allowed = (lower.chars().count().max(other.chars().count()) / 3).max(1);
            let extends = lower.len() >= 3 && (other.starts_with(&lower) || lower.starts_with(&other));
            (distance <= allowed || extends).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `a` or `an`, as the word is spoken.
pub(super) fn article(word: &str) -> &'static str {
    if word.trim_start_matches('`').starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// One line of help: the nearest name, else all of them when they are few.
pub(super) fn help<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(found) = nearest(name, known.clone()) {
        return Some(format!("did you mean `{found}`?"));
    }
    let mut all: Vec<&str> = known.into_iter().collect();
    all.sort_unstable();
    match all.len() {
        0 => None,
        1..=24 => Some(format!(
            "known here: {}",
            all.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_are_understood() {
        let known = ["instance_type", "image", "private_ip", "tags"];
        assert_eq!(nearest("instnce_type", known), Some("instance_type"));
        assert_eq!(nearest("Tags", known), Some("tags"));
        assert_eq!(nearest("private", known), Some("private_ip"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(help("zzz", ["b", "a"]).as_deref(), Some("known here: `a`, `b`"));
    }
}
