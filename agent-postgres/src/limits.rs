//! [`SharedLimits`] on PostgreSQL: one statement for each count.

use std::{sync::Arc, time::Duration};

use agent_core::journal::{OwnerId, SessionReservation, SharedLimits, SharedPermit, StoreError};
use futures::future::BoxFuture;
use tokio_postgres::types::Type;

use crate::{
    connection::{Inner, Param, column, single},
    summary::{plain, quoted},
};

pub(crate) struct Limits(pub(crate) Arc<Inner>);

fn millis(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).min(1 << 40)
}

fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

impl SharedLimits for Limits {
    fn request(&self, key: &str, per_minute: u32) -> BoxFuture<'_, Result<Option<Duration>, StoreError>> {
        let key = plain(key);
        Box::pin(async move {
            let (per_minute, now) = (number(per_minute.clamp(1, 60_000_000)), self.0.now());
            let params: [Param<'_>; 3] = [(&key, Type::TEXT), (&per_minute, Type::INT4), (&now, Type::INT8)];
            let row = single(self.0.rows(&self.0.sql.rate, &params).await?)?;
            let wait: Option<i64> = column(&row, 0)?;
            Ok(wait.map(|micros| Duration::from_micros(micros.unsigned_abs())))
        })
    }

    fn hold(
        &self,
        holder: &OwnerId,
        permit: &SharedPermit,
        maximum: u32,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let (holder, key, count) = (holder.0.clone(), plain(&permit.key), number(permit.count));
        Box::pin(async move {
            let (maximum, ttl, now) = (number(maximum), millis(ttl), self.0.now());
            let params: [Param<'_>; 6] = [
                (&holder, Type::TEXT),
                (&key, Type::TEXT),
                (&count, Type::INT4),
                (&maximum, Type::INT4),
                (&ttl, Type::INT8),
                (&now, Type::INT8),
            ];
            column(&self.0.one(&self.0.sql.hold, &params).await?, 0)
        })
    }

    fn keep(
        &self,
        holder: &OwnerId,
        permits: Vec<SharedPermit>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let holder = holder.0.clone();
        Box::pin(async move {
            let keys: Vec<String> = permits.iter().map(|permit| plain(&permit.key)).collect();
            let counts: Vec<i32> = permits.iter().map(|permit| number(permit.count)).collect();
            let (ttl, now) = (millis(ttl), self.0.now());
            let params: [Param<'_>; 5] = [
                (&holder, Type::TEXT),
                (&keys, Type::TEXT_ARRAY),
                (&counts, Type::INT4_ARRAY),
                (&ttl, Type::INT8),
                (&now, Type::INT8),
            ];
            self.0.repeatable(&self.0.sql.keep, &params).await.map(drop)
        })
    }

    fn reserve(
        &self,
        reservation: &SessionReservation,
        maximum: u32,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let (owner, without) = (quoted(&reservation.owner), plain(&reservation.without));
        let session = reservation.session.clone();
        Box::pin(async move {
            let (name, maximum, ttl, now) = (session.as_str(), number(maximum), millis(ttl), self.0.now());
            let params: [Param<'_>; 6] = [
                (&owner, Type::TEXT),
                (&name, Type::TEXT),
                (&without, Type::TEXT),
                (&maximum, Type::INT4),
                (&ttl, Type::INT8),
                (&now, Type::INT8),
            ];
            column(&self.0.one(&self.0.sql.reserve, &params).await?, 0)
        })
    }
}
