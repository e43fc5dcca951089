//! Hostile values: any update is stored and read back as it was.

use super::*;

pub(super) fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("$overwrite".to_owned()),
        Just("$some".to_owned()),
        Just("$reduce".to_owned()),
        Just("$serde_json::private::RawValue".to_owned()),
        Just("a/~b".to_owned()),
        Just(String::new()),
        "[a-c]",
    ]
}

pub(super) fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!("$overwrite")),
        (80_usize..140).prop_map(deep),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(any_key(), inner, 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

pub(super) fn any_nested() -> impl Strategy<Value = Nested> {
    use proptest::option::of;
    let number = of(of(any::<u32>()));
    (of(number.clone()), of(of(any_value())), proptest::collection::vec(number, 0..3))
}

/// A deep copy; updates are not `Clone`.
pub(super) fn copied(update: &BagUpdate) -> BagUpdate {
    let mut copy = Bag::update();
    copy.map.clone_from(&update.map);
    copy.list.clone_from(&update.list);
    copy.options.clone_from(&update.options);
    copy.nested.clone_from(&update.nested);
    copy.any.clone_from(&update.any);
    copy.number.clone_from(&update.number);
    copy
}
