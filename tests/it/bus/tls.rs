//! The bus behind TLS (`rediss://`), with certificates that are made for the test.

use super::*;
use crate::harness::certificates;

#[tokio::test]
async fn a_redis_is_used_that_shows_the_right_certificate_and_no_other() {
    let made = certificates();
    let redis = Redis::start_with_tls(made.path());
    let url = redis.database().replace("redis://", "rediss://");
    // the roots of the system are those that this names
    let roots = |name: &str| made.path().join(name).display().to_string();
    let (ours, other) = (roots("ours.crt"), roots("other.crt"));

    let trusting = [
        ("SSL_CERT_FILE", ours.as_str()),
        ("MIMAMORI_CACHE__URL", &url),
    ];
    let ingest = ingest_on(&url, &trusting).await;
    class_runs(&ingest, 0, 3).await;
    let node = consoles_on(&url, &trusting).await;
    let mut console = Console::watching(&node, ROOM).await;
    class_runs(&ingest, 1, 3).await;
    shows_the_present(&mut console, &ingest).await;
    is_degraded(&ingest, &json!([])).await;

    // nobody whom it trusts signed for it, and 127.0.0.2 is not in the certificate
    let elsewhere = url.replace("127.0.0.1", "127.0.0.2");
    for (roots, url) in [(&other, &url), (&ours, &elsewhere)] {
        let node = ingest_on(url, &[("SSL_CERT_FILE", roots)]).await;
        eventually("it says what is wrong", SOON, async || {
            let said = bus_of(&node).await["lastError"].to_string();
            ensure(said.contains("certificate"), || said)
        })
        .await;
        assert!(!node.log().contains(PASSWORD), "{}", node.log());
    }
}
