//! The visible todos: the analyst's own work, under the items of a model's list if there is one.

use agent_core::todo::{TodoError, Todos};

use super::{catalogue::Brand, plan::PlannedTodo};

/// Shows the plan. Each piece of `work` becomes an item with its own id; those of `planned` become their parents. A planned
/// item that no work belongs to is not shown: progress is that of work that is done.
///
/// # Errors
///
/// [`TodoError`] when the plan has more items than a plan may have.
pub(super) fn lay_out(todos: &Todos, planned: &[PlannedTodo], work: &[PlannedTodo]) -> Result<(), TodoError> {
    let places = places(planned, work);
    for (at, item) in planned.iter().enumerate() {
        if places.contains(&Some(at)) {
            todos.add(model_id(item), &item.title)?;
        }
    }
    for (piece, place) in work.iter().zip(places) {
        match place {
            Some(at) => todos.under(model_id(&planned[at])).add(&piece.id, &piece.title)?,
            None => todos.add(&piece.id, &piece.title)?,
        };
    }
    Ok(())
}

fn model_id(item: &PlannedTodo) -> String {
    format!("plan:{}", item.id)
}

/// Under which item of the model each piece of work hangs: the last one for what ends the work, else the item that
/// names the same brand (and the same kind of work, if several do), else by the order.
fn places(planned: &[PlannedTodo], work: &[PlannedTodo]) -> Vec<Option<usize>> {
    let Some(last) = planned.len().checked_sub(1) else { return vec![None; work.len()] };
    work.iter()
        .map(|piece| {
            let Some((kind, slug)) = piece.id.split_once(':') else { return Some(last) };
            let brand = Brand::from_name(slug);
            let names = |item: &PlannedTodo| {
                let text = format!("{} {}", item.id, item.title).to_lowercase().replace([' ', '-', '_'], "");
                brand.is_some_and(|brand| {
                    brand.aliases().iter().any(|alias| text.contains(&alias.replace(['-', '_'], "")))
                })
            };
            let does = |item: &PlannedTodo| {
                let text = format!("{} {}", item.id, item.title).to_lowercase();
                let words: &[&str] = match kind {
                    "collect" => &["collect", "gather", "load", "fetch", "수집", "모으"],
                    _ => &["analy", "topic", "sentiment", "분석", "주제", "감성"],
                };
                words.iter().any(|word| text.contains(word))
            };
            // The last item is the report, unless it is the only one.
            let open = &planned[..last.max(1)];
            open.iter()
                .position(|item| names(item) && does(item))
                .or_else(|| open.iter().position(does))
                .or_else(|| open.iter().position(names))
                .or(Some(if kind == "collect" { 0 } else { open.len() - 1 }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn todo(id: &str, title: &str) -> PlannedTodo {
        PlannedTodo { id: id.into(), title: title.into() }
    }

    #[test]
    fn work_hangs_under_the_item_that_names_it_and_the_report_under_the_last() {
        let work = ["collect:laneige", "analyse:laneige", "collect:anua", "analyse:anua", "write"];
        let work: Vec<PlannedTodo> = work.iter().map(|id| todo(id, "")).collect();
        let planned = [
            todo("a", "Collect Laneige reviews"),
            todo("b", "아누아 리뷰 수집"),
            todo("c", "Find topics"),
            todo("d", "Write"),
        ];
        assert_eq!(places(&planned, &work), [Some(0), Some(2), Some(1), Some(2), Some(3)]);
        assert_eq!(places(&planned[..1], &work), [Some(0); 5]);
        assert_eq!(places(&[], &work), [None; 5]);
    }
}
