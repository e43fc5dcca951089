//! Context of a run: a typed value of the caller that nodes, tools and prompts read.

use std::{any::Any, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::json::{self, Form, Stored, ValueError};

/// Error of [`Context::context`](crate::Context::context) and its relatives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// The run was started without a context.
    #[error("the run has no context; start it with `RunOptions::context`")]
    Missing,
    /// The context was given for one process only, and another process executes the run now.
    #[error(
        "the context of the run, a `{name}`, was not stored, and this process does not have it; resume the run with \
         `session.resume().transient_context(..)`"
    )]
    NotStored {
        /// Rust type of the context.
        name: String,
    },
    /// The context is of another type.
    #[error("the context of the run is a `{name}`, which cannot be read as `{wanted}`: {reason}")]
    OtherType {
        /// Rust type of the context.
        name: String,
        /// The requested type.
        wanted: &'static str,
        /// The reason.
        reason: String,
    },
}

/// Context of a run as it is stored.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ContextValue {
    /// Rust type, for messages.
    #[serde(rename = "type")]
    name: String,
    /// `None`: it was given for one process only.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    value: Option<Arc<RawValue>>,
    /// Of the value.
    #[serde(default, skip_serializing_if = "Form::is_plain")]
    form: Form,
    #[serde(skip)]
    live: Option<Arc<dyn Any + Send + Sync>>,
    #[serde(skip)]
    fault: Option<ValueError>,
}

/// Reads JSON `null` as a value.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<RawValue>>, D::Error> {
    Arc::<RawValue>::deserialize(deserializer).map(Some)
}

impl ContextValue {
    /// Creates a context that is stored with its run.
    pub(crate) fn stored<T: Serialize + Any + Send + Sync>(value: T) -> Self {
        let (stored, fault) = match Stored::new(&value, json::NEW) {
            Ok(stored) => (Some(stored), None),
            Err(error) => (None, Some(error.of("the context"))),
        };
        let (value_json, form) = stored.map(|stored| (stored.json, stored.form)).unzip();
        let name = std::any::type_name::<T>().to_owned();
        Self { name, value: value_json, form: form.unwrap_or_default(), live: Some(Arc::new(value)), fault }
    }

    /// Creates a context for this process only.
    pub(crate) fn transient<T: Any + Send + Sync>(value: T) -> Self {
        let name = std::any::type_name::<T>().to_owned();
        Self { name, value: None, form: Form::default(), live: Some(Arc::new(value)), fault: None }
    }

    /// Returns why the value cannot be stored.
    pub(crate) const fn fault(&self) -> Option<&ValueError> {
        self.fault.as_ref()
    }

    /// Returns the value that is in memory only.
    pub(crate) fn only_live(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        if self.value.is_none() { self.live.clone() } else { None }
    }

    /// Returns the context with a value that this process has, if the journal has none.
    pub(crate) fn or_live(self: Arc<Self>, live: Option<Arc<dyn Any + Send + Sync>>) -> Arc<Self> {
        if self.value.is_some() || self.live.is_some() || live.is_none() {
            return self;
        }
        Arc::new(Self { live, ..Self::clone(&self) })
    }

    pub(crate) fn read<T: Serialize + DeserializeOwned + Any + Send + Sync>(
        &self,
    ) -> Result<Arc<T>, ContextError> {
        if let Some(Ok(value)) = self.live.clone().map(Arc::downcast::<T>) {
            return Ok(value);
        }
        let Some(json) = &self.value else { return self.live::<T>() };
        let stored = Stored { json: Arc::clone(json), form: self.form.clone() };
        stored.read::<T>().map(Arc::new).map_err(|error| self.other::<T>(error.to_string()))
    }

    pub(crate) fn live<T: Any + Send + Sync>(&self) -> Result<Arc<T>, ContextError> {
        match self.live.clone().map(Arc::downcast::<T>) {
            Some(Ok(value)) => Ok(value),
            Some(Err(_)) => Err(self.other::<T>("it is not stored as JSON".to_owned())),
            None => Err(ContextError::NotStored { name: self.name.clone() }),
        }
    }

    /// Returns the value as JSON, if it is stored.
    pub(crate) fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_str(self.value.as_ref()?.get()).ok()
    }

    fn other<T>(&self, reason: String) -> ContextError {
        ContextError::OtherType { name: self.name.clone(), wanted: std::any::type_name::<T>(), reason }
    }
}

impl fmt::Debug for ContextValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextValue").field("type", &self.name).finish_non_exhaustive()
    }
}
