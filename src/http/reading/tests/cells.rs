//! The table of cells, as it goes out.

use super::*;

#[tokio::test]
async fn a_cell_has_exactly_what_the_contract_says_and_its_notebook() {
    let house = House::with(&class()).await;

    let items = house.list("cells").await;

    assert_eq!(
        items,
        [
            json!({
                "notebook": "week1/課題.ipynb", "cellId": "cell-1", "cellIndex": 1, "reached": 1, "ok": 1,
                "errors": 0, "skipped": 0, "medianTries": 1.0, "commonestError": null, "at": at(1),
            }),
            json!({
                "notebook": "week1/課題.ipynb", "cellId": "cell-2", "cellIndex": 2, "reached": 1, "ok": 0,
                "errors": 1, "skipped": 0, "medianTries": 1.0,
                "commonestError": "ZeroDivisionError: division by zero", "at": at(2),
            }),
        ]
    );
    let of_it = house
        .list("cells?notebook=week1/%E8%AA%B2%E9%A1%8C.ipynb")
        .await;
    assert_eq!(of_it, items);
    let later = house.list(&format!("cells?from={}", at(2))).await;
    assert_eq!(later, items[1..]);
    assert_eq!(
        house.list("cells?notebook=other.ipynb").await,
        [json!(null); 0]
    );
}

#[tokio::test]
async fn names_of_any_length_fit_into_a_cursor_of_cells() {
    let entries: Vec<_> = (1..=3)
        .map(|n| {
            let mut it = execution(n, 1);
            it.notebook = Some("\u{1}".repeat(1_024));
            it.cell_id = Some(format!("{n}").repeat(1_024));
            event(n, 1, it)
        })
        .collect();
    let house = House::with(&entries).await;
    let mut ids = Vec::new();
    let mut path = "/api/v1/classrooms/default/cells?limit=1".to_owned();

    loop {
        let page = house.get(&path).await;
        ids.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it["cellId"].clone()),
        );
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/api/v1/classrooms/default/cells?limit=1&cursor={next}");
    }

    assert_eq!(ids.len(), 3);
    assert_eq!(ids[2], json!("3".repeat(1_024)));
}
