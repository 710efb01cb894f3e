//! What the write-ahead log promises, shown.

mod crashes;
mod dice;
mod failures;
mod ledger;
mod mutants;
mod repairs;
mod rig;
mod rounds;
mod rules;
mod sim;
mod small_model;
