//! Subaccounts that are being made, on a server.

use super::super::rows::{making, named_making, signed};
use super::super::sql;
use super::PostgresJournal;
use crate::model::key::LabelKey;
use crate::model::subaccount::{Making, SubaccountName};
use crate::ports::{JournalError, Ledger};
use async_trait::async_trait;

#[async_trait]
impl Ledger for PostgresJournal {
    fn label_key(&self) -> LabelKey {
        self.label_key.clone()
    }

    async fn making(&self, name: &SubaccountName) -> Result<(u64, Making), JournalError> {
        let rows = self.all(sqlx::query(sql::MAKING).bind(name.as_str())).await?;
        rows.first().map_or(Ok((0, Making::default())), making)
    }

    async fn makings(&self) -> Result<Vec<(SubaccountName, Making)>, JournalError> {
        self.all(sqlx::query(sql::MAKINGS)).await?.iter().map(named_making).collect()
    }

    async fn note(&self, name: &SubaccountName, seq: u64, making: &Making) -> Result<bool, JournalError> {
        let body = serde_json::to_string(making).map_err(|error| JournalError::Unavailable(error.to_string()))?;
        let note = sqlx::query(sql::NOTE_MAKING).bind(name.as_str()).bind(signed(seq + 1)).bind(body);
        Ok(!self.all(note).await?.is_empty())
    }
}
