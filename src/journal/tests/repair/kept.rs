//! What a repair keeps aside.

use super::*;

/// Names and bytes of what is kept aside.
fn kept(bench: &Bench) -> Vec<(String, Vec<u8>)> {
    let files = all_files(&bench.journal_dir().join("damaged")).into_iter();
    files
        .map(|(path, bytes)| (path.file_name().unwrap().to_str().unwrap().into(), bytes))
        .collect()
}

#[tokio::test]
async fn other_bytes_that_stand_where_kept_ones_stood_are_kept_beside_them() {
    let bench = three_requests().await;
    let path = segment(&bench);
    let frames = frames_of(&path);
    let middle = usize::try_from(frames[1]).unwrap()..usize::try_from(frames[2]).unwrap();
    let mut stood = Vec::new();
    for places in [[60, 90], [70, 80]] {
        for place in places {
            flip_bit(&path, frames[1] + place);
        }
        stood.push(fs::read(&path).unwrap()[middle.clone()].to_vec());

        let told = repair(&bench);

        assert_eq!(deeds(&told), ["kept aside", "lost"], "{told:?}");
    }

    let kept = kept(&bench);
    let names: Vec<_> = kept.iter().map(|(name, _)| name.as_str()).collect();
    assert!(
        names[0].ends_with("-2.bin") && names.len() == 2,
        "{names:?}"
    );
    let bytes: Vec<_> = kept.into_iter().rev().map(|(_, bytes)| bytes).collect();
    assert!(bytes == stood);
}

#[tokio::test]
async fn a_repair_keeps_what_it_must_however_many_pieces_are_kept_already() {
    let bench = three_requests().await;
    let path = segment(&bench);
    let middle = frames_of(&path)[1];
    flip_bit(&path, middle + 60);
    flip_bit(&path, middle + 90);
    let damaged = bench.journal_dir().join("damaged");
    fs::create_dir(&damaged).unwrap();
    for n in 0..256 {
        fs::write(damaged.join(format!("{n}.bin")), b"x").unwrap();
    }

    let told = repair(&bench);

    assert_eq!(deeds(&told), ["kept aside", "lost"], "{told:?}");
    assert_eq!(kept(&bench).len(), 257);
}

#[tokio::test]
async fn an_index_that_is_damaged_while_something_comes_back_is_marked_once() {
    let bench = three_requests().await;
    let path = segment(&bench);
    flip_bit(&path, frames_of(&path)[1] + 60);
    let (run, _) = runs(&bench)
        .into_iter()
        .max_by_key(|(_, bytes)| bytes.len())
        .unwrap();
    flip_bit(&run, 4096 + 40);

    let told = repair(&bench);

    assert_eq!(deeds(&told), ["kept aside", "marked", "brought back"]);
}
