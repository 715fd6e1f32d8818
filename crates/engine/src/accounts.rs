//! What is remembered of each account, from whatever addresses it is used or attacked.

use crate::{
    detect::{account_attacked, fraud_after_login},
    hash::HashKey,
    lru::Lru,
};

/// Accounts remembered at most: attackers invent them.
const MOST: usize = 50_000;

/// Accounts by the hash of their name.
#[derive(Debug)]
pub(crate) struct Accounts(Lru<u64, Account>);

#[derive(Debug, Default)]
pub(crate) struct Account {
    pub attacked: account_attacked::State,
    pub fraud: fraud_after_login::State,
}

impl Accounts {
    pub fn new(key: HashKey) -> Self {
        Self(Lru::new(MOST, key))
    }

    pub fn touch(&mut self, account: u64) -> &mut Account {
        self.0.touch(account)
    }
}
