use super::*;

const IDENTITY: Identity = Identity {
    key: [1; 16],
    content: [2; 16],
};

fn unknown(_: &[u8; 16]) -> Result<Option<[u8; 16]>, ()> {
    Ok(None)
}

fn claimed(claims: &Arc<Claims>) -> Claimed {
    let mut claimed = Claimed::new(Arc::clone(claims), 1);
    let met = claimed.claim(&IDENTITY, unknown).unwrap();
    assert!(matches!(met, Met::Nobody), "{met:?}");
    claimed
}

fn twin_of(claims: &Arc<Claims>) -> (Arc<Flight>, [u8; 16]) {
    let mut twin = Claimed::new(Arc::clone(claims), 1);
    let met = twin.claim(&IDENTITY, |_| -> Result<_, ()> {
        panic!("what is claimed need not be looked up")
    });
    match met.unwrap() {
        Met::Twin(flight, content) => (flight, content),
        met @ (Met::Nobody | Met::Known(_)) => panic!("{met:?}"),
    }
}

#[tokio::test]
async fn a_twin_waits_until_the_first_one_landed_and_meets_it_until_it_is_released() {
    let claims = Arc::<Claims>::default();
    let first = claimed(&claims);
    let (flight, content) = twin_of(&claims);
    let mut waiting = Box::pin(flight.landed());
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());

    first.land(Position(7));

    assert_eq!(waiting.await, Ok(Position(7)));
    assert_eq!(content, IDENTITY.content);
    let (landed, _) = twin_of(&claims);
    assert_eq!(landed.landed().await, Ok(Position(7)));
    claims.release(&IDENTITY.key);
    claimed(&claims);
}

#[test]
fn what_the_index_has_is_not_claimed() {
    let claims = Arc::<Claims>::default();
    let mut late = Claimed::new(Arc::clone(&claims), 1);

    let met = late.claim(&IDENTITY, |key| Ok::<_, ()>(Some(*key)));

    assert!(matches!(met, Ok(Met::Known(content)) if content == IDENTITY.key));
    assert_eq!(claims.len(), 0);
    assert!(late.claim(&IDENTITY, |_| Err("broken")).is_err());
    assert_eq!(claims.len(), 0);
}

#[tokio::test]
async fn a_refused_request_gives_its_claims_back_and_tells_those_who_wait() {
    let claims = Arc::<Claims>::default();
    let first = claimed(&claims);
    let (flight, _) = twin_of(&claims);

    first.refuse(AppendError::Overloaded);

    assert_eq!(flight.landed().await, Err(AppendError::Overloaded));
    claimed(&claims);
}

#[tokio::test]
async fn a_request_that_was_thrown_away_gives_its_claims_back_and_tells_those_who_wait() {
    let claims = Arc::<Claims>::default();
    let first = claimed(&claims);
    let (flight, _) = twin_of(&claims);

    drop(first);

    assert_eq!(flight.landed().await, Err(AppendError::Closed));
    claimed(&claims);
}
