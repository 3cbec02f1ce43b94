use super::*;

const IDENTITY: Identity = Identity {
    key: [1; 16],
    content: [2; 16],
};

fn claimed(claims: &Arc<Claims>) -> (Claimed, Arc<Claim>) {
    let mut claimed = Claimed::new(Arc::clone(claims));
    let claim = claimed.claim(&IDENTITY).expect("nobody has it");
    (claimed, claim)
}

#[tokio::test]
async fn a_twin_waits_until_the_first_one_landed_and_meets_it_until_it_is_released() {
    let claims = Arc::<Claims>::default();
    let (first, claim) = claimed(&claims);
    let mut twin = Claimed::new(Arc::clone(&claims));
    let theirs = twin.claim(&IDENTITY).unwrap_err();
    let mut waiting = Box::pin(theirs.flight.landed());
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());

    claim.settle(IDENTITY.content);
    first.land(Position(7));

    assert_eq!(waiting.await, Ok(Position(7)));
    assert_eq!(theirs.content(), Some(&IDENTITY.content));
    assert!(twin.claim(&IDENTITY).is_err(), "not in the index yet");
    claims.release(&IDENTITY.key);
    assert!(twin.claim(&IDENTITY).is_ok());
}

#[tokio::test]
async fn a_refused_request_gives_its_claims_back_and_tells_those_who_wait() {
    let claims = Arc::<Claims>::default();
    let (first, claim) = claimed(&claims);

    first.refuse(AppendError::Overloaded);

    assert_eq!(claim.flight.landed().await, Err(AppendError::Overloaded));
    claimed(&claims);
}

#[tokio::test]
async fn a_request_that_was_thrown_away_gives_its_claims_back_and_tells_those_who_wait() {
    let claims = Arc::<Claims>::default();
    let (first, claim) = claimed(&claims);

    drop(first);

    assert_eq!(claim.flight.landed().await, Err(AppendError::Closed));
    claimed(&claims);
}
