use std::sync::atomic::Ordering;
use std::time::Duration;

use mimamori_actors::outbox::OutboxLimits;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::super::LiveSettings;
use super::harness::{COOKIE, OWN_ORIGIN, PATIENCE, SESSION, Server, ends_with_close, handshake};

#[tokio::test]
async fn a_binary_frame_is_told_1003() {
    let server = Server::start().await;
    let mut page = server.console().await;

    page.send(Message::binary(vec![1, 2, 3])).await;

    assert_eq!(page.end().await, Some(1003));
}

#[tokio::test]
async fn a_message_over_64_kib_is_told_1009() {
    let server = Server::start().await;
    let mut page = server.console().await;
    let longest = "x".repeat(64 * 1024);
    page.send(Message::text(longest.clone())).await;
    assert_eq!(page.hear().await["code"], "bad_message");

    page.send(Message::text(longest + "x")).await;

    assert_eq!(page.end().await, Some(1009));
}

#[tokio::test]
async fn a_large_message_still_on_its_way_does_not_swallow_the_close() {
    let server = Server::start().await;
    let mut page = server.console().await;

    // it may fail: the server closes before all of it is there
    let _ = futures_util::SinkExt::send(&mut page.socket, Message::text("x".repeat(4 << 20))).await;

    assert_eq!(page.end().await, Some(1009));
}

#[tokio::test]
async fn too_many_broken_messages_are_told_1008() {
    let server = Server::start().await;
    let mut page = server.console().await;

    for _ in 0..51 {
        page.send(Message::text("nonsense")).await;
    }

    assert_eq!(page.end().await, Some(1008));
}

#[tokio::test]
async fn too_many_messages_are_told_1008() {
    let server = Server::start().await;
    let mut page = server.console().await;

    for reference in 0..201 {
        page.say(json!({"type": "unsubscribe", "classroom": "default", "ref": reference}))
            .await;
    }

    assert_eq!(page.end().await, Some(1008));
}

#[tokio::test]
async fn one_console_too_many_is_told_1013() {
    let server = Server::start_with(LiveSettings::default(), 1).await;
    let (first, _) = server.watching().await;

    let authorization = format!("Bearer {}", super::harness::TOKEN);
    let (mut page, _) = server.open(&[("authorization", &authorization)]).await;

    assert_eq!(page.end().await, Some(1013));
    drop(first);
}

#[tokio::test]
async fn a_server_that_drains_tells_1001_after_what_was_waiting() {
    let server = Server::start().await;
    let (mut page, _) = server.watching().await;
    let (mut unsigned, _) = server.open(&[]).await;
    server.consoles.event("a");

    server.draining.send_replace(true);

    assert_eq!(page.hear().await["type"], "delta");
    assert_eq!(page.end().await, Some(1001));
    assert_eq!(unsigned.end().await, Some(1001));
    drop((page, unsigned));
    tokio::time::timeout(PATIENCE, server.open.all_closed())
        .await
        .expect("every socket is closed");
}

#[tokio::test]
async fn a_console_that_signed_out_is_told_4403_however_it_had_signed_in() {
    let settings = LiveSettings {
        heartbeat: Duration::from_millis(300),
        ..LiveSettings::default()
    };
    let server = Server::start_with(settings, 10).await;
    let bearer = format!("Bearer {SESSION}");
    let protocol = format!("mimamori.v1, bearer.{SESSION}");
    let ways: [&[(&'static str, &str)]; 4] = [
        &[("cookie", COOKIE), ("origin", OWN_ORIGIN)],
        &[("authorization", &bearer)],
        &[("sec-websocket-protocol", &protocol)],
        &[],
    ];
    let mut pages = Vec::new();
    for way in ways {
        let (mut page, _) = server.open(way).await;
        if way.is_empty() {
            page.say(json!({"type": "auth", "token": SESSION})).await;
        }
        assert_eq!(page.hear().await["type"], "hello");
        pages.push(page);
    }

    server.sign_in.is_signed_out.store(true, Ordering::Relaxed);

    for (mut page, way) in pages.into_iter().zip(ways) {
        // it answers pings, so without a bound it would stay for ever
        let end = tokio::time::timeout(PATIENCE, page.end()).await;
        assert_eq!(end, Ok(Some(4403)), "{way:?}");
    }
}

#[tokio::test]
async fn who_signs_out_is_closed_at_once_and_the_others_stay() {
    let server = Server::start().await;
    let (mut signed_out, _) = server
        .open(&[("cookie", COOKIE), ("origin", OWN_ORIGIN)])
        .await;
    assert_eq!(signed_out.hear().await["type"], "hello");
    let (mut other, _) = server.watching().await;

    server.sign_in.is_signed_out.store(true, Ordering::Relaxed);
    server.withdrawals.send_modify(|count| *count += 1);

    // long before the next pulse
    let end = tokio::time::timeout(Duration::from_secs(2), signed_out.end()).await;
    assert_eq!(end, Ok(Some(4403)));
    server.consoles.event("a");
    assert_eq!(other.hear().await["type"], "delta");
}

#[tokio::test]
async fn the_system_holds_little_for_a_console_that_does_not_read() {
    let asked_for = LiveSettings::default().send_buffer_bytes;

    let little = taken_for_a_deaf_console(asked_for).await;
    let more = taken_for_a_deaf_console(asked_for * 3).await;

    assert!(little >= asked_for, "only {little} bytes were taken");
    // what the console's own side holds is the same in both
    assert!(more >= little + asked_for, "{little} and {more} bytes");
}

/// How many bytes of frames leave the outbox of a console that does not read.
async fn taken_for_a_deaf_console(send_buffer_bytes: usize) -> usize {
    let settings = LiveSettings {
        send_buffer_bytes,
        ..LiveSettings::default()
    };
    let server = Server::start_with(settings, 10).await;
    let (deaf, _) = server.watching().await;
    let outbox = server.consoles.outbox();
    let name = "x".repeat(20_000);

    let mut taken = 0;
    // what the kernel takes, it takes at its own time: no clock of ours can be set forward
    let is_taken = async || {
        while outbox.queued_bytes() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    while tokio::time::timeout(Duration::from_millis(200), is_taken())
        .await
        .is_ok()
    {
        taken += server.consoles.event_of("a", &name).frame.len();
        assert!(taken < 1 << 20, "{taken} bytes were taken");
    }
    taken -= outbox.queued_bytes();

    drop(deaf);
    taken
}

#[tokio::test]
async fn a_connection_that_panics_ends_alone_and_its_console_comes_back() {
    let server = Server::start().await;
    let (mut failing, _) = server
        .open(&[("cookie", COOKIE), ("origin", OWN_ORIGIN)])
        .await;
    assert_eq!(failing.hear().await["type"], "hello");
    let (mut other, _) = server.watching().await;

    server.sign_in.panics.store(true, Ordering::Relaxed);
    server.withdrawals.send_modify(|count| *count += 1);

    assert_eq!(failing.end().await, Some(1001));
    server.sign_in.panics.store(false, Ordering::Relaxed);
    server.consoles.event("a");
    assert_eq!(other.hear().await["type"], "delta");
    let (_again, _) = server.watching().await;
}

#[tokio::test]
async fn a_console_that_answers_pings_stays() {
    let settings = LiveSettings {
        heartbeat: Duration::from_millis(300),
        ..LiveSettings::default()
    };
    let server = Server::start_with(settings, 10).await;
    let mut page = server.console().await;

    for _ in 0..4 {
        assert!(matches!(page.next().await, Some(Ok(Message::Ping(_)))));
    }
}

#[tokio::test]
async fn a_console_that_answers_no_ping_is_told_4008() {
    let settings = LiveSettings {
        heartbeat: Duration::from_millis(60),
        ..LiveSettings::default()
    };
    let server = Server::start_with(settings, 10).await;

    // a socket without a WebSocket client behind it: it reads, and answers nothing
    let received = server
        .raw_until_close(&handshake("GET", "/api/v1/live", "", "X: y"))
        .await;

    assert!(ends_with_close(&received, 4008));
    let pings = received.windows(2).filter(|bytes| *bytes == [0x89, 0]);
    assert_eq!(pings.count(), 2);
}

/// Small enough for a slow console to be noticed, large enough for the others.
fn narrow() -> LiveSettings {
    LiveSettings {
        outbox: OutboxLimits { max_bytes: 300_000 },
        ..LiveSettings::default()
    }
}

#[tokio::test]
async fn a_slow_console_gets_the_present_and_no_hole() {
    let server = Server::start_with(narrow(), 10).await;
    let (mut slow, snapshot) = server.watching().await;
    let name = "見".repeat(10_000);

    // more than the kernel keeps for a socket
    for n in 0..1000 {
        server.consoles.event_of(&(n % 5).to_string(), &name);
        tokio::task::yield_now().await;
    }

    let mut seq = snapshot["seq"].clone();
    let mut omitted = 0;
    let mut frames = 0;
    while seq != server.consoles.seq() {
        let delta = slow.hear().await;
        assert_eq!(delta["type"], "delta");
        assert_eq!(delta["after"], seq);
        seq = delta["seq"].clone();
        omitted += delta["eventsOmitted"].as_u64().unwrap();
        frames += 1;
    }
    assert!(frames < 500, "{frames} frames for 1,000 deltas");
    assert!(omitted > 500, "{omitted} events were counted");
}

#[tokio::test]
async fn what_is_too_much_even_merged_begins_anew() {
    let server = Server::start_with(narrow(), 10).await;
    let (mut slow, snapshot) = server.watching().await;
    let name = "見".repeat(10_000);
    for n in 0..1000 {
        server.consoles.event_of(&(n % 50).to_string(), &name);
        tokio::task::yield_now().await;
    }

    let mut seq = snapshot["seq"].clone();
    let mut resets = 0;
    while seq != server.consoles.seq() {
        let frame = slow.hear().await;
        match frame["type"].as_str().unwrap() {
            "delta" => assert_eq!(frame["after"], seq),
            "reset" => {
                resets += 1;
                assert_eq!(frame["reason"], "slow");
                continue;
            }
            other => assert_eq!(other, "snapshot"),
        }
        seq = frame["seq"].clone();
    }
    assert!(resets > 0);
}

/// All tasks of a test share a thread: everyone does what there is to do.
async fn turns() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_standstill_of_the_process_closes_no_console_that_had_something_to_read() {
    let settings = LiveSettings {
        behind_for: Duration::from_secs(1),
        heartbeat: Duration::from_millis(300),
        outbox: OutboxLimits { max_bytes: 8 << 20 },
        ..LiveSettings::default()
    };
    let server = Server::start_with(settings, 10).await;
    let (mut page, _) = server.watching().await;
    let name = "見".repeat(10_000);
    // more than the system keeps for a socket
    for _ in 0..60 {
        server.consoles.event_of("a", &name);
    }
    turns().await;
    assert!(server.consoles.outbox().queued_bytes() > 0);

    // nobody had a turn meanwhile: every clock of the process jumps
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(1_500)).await;
    tokio::time::resume();
    // the pulse that is due comes before the console reads
    turns().await;

    for _ in 0..60 {
        assert_eq!(page.hear().await["type"], "delta");
    }
    assert_eq!(server.open.count(), 1);
}

#[tokio::test]
async fn a_console_that_never_reads_is_closed_and_nobody_else_notices() {
    let settings = LiveSettings {
        behind_for: Duration::from_secs(1),
        heartbeat: Duration::from_secs(2),
        farewell: Duration::from_millis(100),
        ..narrow()
    };
    let server = Server::start_with(settings, 10).await;
    let (deaf, _) = server.watching().await;
    let (mut page, snapshot) = server.watching().await;
    let name = "見".repeat(10_000);

    let mut seq = snapshot["seq"].as_u64().unwrap();
    while server.open.count() == 2 {
        let delta = server.consoles.event_of("a", &name);
        while seq < delta.seq {
            match page.next().await {
                Some(Ok(Message::Text(text))) => {
                    let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
                    assert_eq!(frame["after"].as_u64(), Some(seq));
                    assert_eq!(frame["eventsOmitted"], 0, "it is not slow");
                    seq = frame["seq"].as_u64().unwrap();
                }
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    assert_eq!(server.consoles.watching(), 1);
    drop(deaf);
}
