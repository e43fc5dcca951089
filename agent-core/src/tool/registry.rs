//! `ToolRegistry`: the tools of a model, with groups, allow lists, and the validation of calls.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use tokio::sync::Semaphore;

use super::{
    AnyTool, Concurrency, ExactSchema, PreparedCall, Tool, ToolCall, ToolError, ToolFault, ToolPolicy,
    ToolSpec,
    schema::{self, Checker},
};

/// One registered tool; all that can be worked out once, is.
pub(super) struct Entry {
    pub(super) tool: AnyTool,
    pub(super) policy: ToolPolicy,
    pub(super) checker: Checker,
    pub(super) permits: Option<Arc<Semaphore>>,
    spec: ToolSpec,
    groups: BTreeSet<String>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tool.fmt(f)
    }
}

/// A set of tools. Cheap to clone. Clones and subsets share concurrency limits.
///
/// # Examples
///
/// ```
/// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
/// # /// The weather of a city.
/// # #[tool]
/// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
/// # /// The time in a city.
/// # #[tool]
/// # async fn time(city: String) -> Result<String, ToolError> { Ok(format!("{city}: noon")) }
/// use agent_core::tool::{ToolCall, ToolContext};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ToolError> {
/// let tools = ToolRegistry::builder().tool(weather).tool(time).build()?;
/// let call = ToolCall::new("weather", &serde_json::json!({ "city": "Seoul" }));
/// let output = tools.prepare(call)?.run(&ToolContext::detached()).await?;
/// assert_eq!(output.to_text(), "Seoul: sunny");
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct ToolRegistry {
    by_name: Arc<HashMap<String, Arc<Entry>>>,
    specs: Arc<[ToolSpec]>,
}

impl ToolRegistry {
    /// Returns a builder.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # /// The time in a city.
    /// # #[tool]
    /// # async fn time(city: String) -> Result<String, ToolError> { Ok(format!("{city}: noon")) }
    /// let tools = ToolRegistry::builder().tool(weather).tool(time).build()?;
    /// assert_eq!(tools.names().collect::<Vec<_>>(), ["weather", "time"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder() -> ToolRegistryBuilder {
        ToolRegistryBuilder::default()
    }

    /// Returns the specifications for the model, in the order in which the tools were added.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # /// The time in a city.
    /// # #[tool]
    /// # async fn time(city: String) -> Result<String, ToolError> { Ok(format!("{city}: noon")) }
    /// let tools = ToolRegistry::builder().tool(weather).build()?;
    /// assert_eq!(tools.specs()[0].description, "The weather of a city.");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn specs(&self) -> Arc<[ToolSpec]> {
        Arc::clone(&self.specs)
    }

    /// Returns the names of the tools, in the order in which they were added.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// let tools = ToolRegistry::builder().tool(weather).build()?;
    /// assert_eq!(tools.names().collect::<Vec<_>>(), ["weather"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.specs.iter().map(|spec| spec.name.as_str())
    }

    /// Returns the tool with this name.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # /// The time in a city.
    /// # #[tool]
    /// # async fn time(city: String) -> Result<String, ToolError> { Ok(format!("{city}: noon")) }
    /// let tools = ToolRegistry::builder().tool(weather).build()?;
    /// assert!(tools.tool("weather").is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn tool(&self, name: &str) -> Option<&AnyTool> {
        self.by_name.get(name).map(|entry| &entry.tool)
    }

    /// Returns the policy under which the tool with this name runs here.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # /// The time in a city.
    /// # #[tool]
    /// # async fn time(city: String) -> Result<String, ToolError> { Ok(format!("{city}: noon")) }
    /// let tools = ToolRegistry::builder().tool(weather).build()?;
    /// assert!(tools.policy("weather").is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<&ToolPolicy> {
        self.by_name.get(name).map(|entry| &entry.policy)
    }

    /// Returns the subset of the tools in `allowed`, which contains names of tools and of groups.
    ///
    /// # Errors
    ///
    /// Every entry of the list that names neither a tool nor a group.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # /// The time in a city.
    /// # #[tool]
    /// # async fn time(city: String) -> Result<String, ToolError> { Ok(format!("{city}: noon")) }
    /// let tools = ToolRegistry::builder().tool(weather).tool(time).build()?;
    /// assert_eq!(tools.allow(["time"])?.names().collect::<Vec<_>>(), ["time"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn allow<I>(&self, allowed: I) -> Result<Self, RegistryError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut names = BTreeSet::new();
        let mut faults = Vec::new();
        for wanted in allowed {
            let wanted = wanted.as_ref();
            let before = names.len();
            names.extend(
                self.by_name.values().filter(|entry| entry.is(wanted)).map(|entry| entry.tool.name()),
            );
            if names.len() == before && !self.by_name.values().any(|entry| entry.is(wanted)) {
                faults.push(RegistryFault::NothingIsCalled { name: wanted.to_owned() });
            }
        }
        if !faults.is_empty() {
            return Err(RegistryError { faults });
        }
        let entries = self.specs.iter().filter(|spec| names.contains(spec.name.as_str()));
        Ok(Self::of(entries.map(|spec| Arc::clone(&self.by_name[&spec.name])).collect()))
    }

    /// Returns these tools followed by those of `other`. The result shares concurrency limits with both.
    ///
    /// # Errors
    ///
    /// [`RegistryError`] with every name that is in both.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # /// The time in a city.
    /// # #[tool]
    /// # async fn time(city: String) -> Result<String, ToolError> { Ok(format!("{city}: noon")) }
    /// let first = ToolRegistry::builder().tool(weather).build()?;
    /// let second = ToolRegistry::builder().tool(time).build()?;
    /// assert_eq!(first.join(&second)?.names().count(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn join(&self, other: &Self) -> Result<Self, RegistryError> {
        let twice = other.names().filter(|name| self.by_name.contains_key(*name));
        let faults: Vec<_> = twice.map(|name| RegistryFault::Twice { name: name.to_owned() }).collect();
        if !faults.is_empty() {
            return Err(RegistryError { faults });
        }
        let both = [self, other].into_iter();
        let entries = both.flat_map(|set| set.specs.iter().map(|spec| Arc::clone(&set.by_name[&spec.name])));
        Ok(Self::of(entries.collect()))
    }

    /// Validates a call: the tool exists and the arguments match its schema.
    ///
    /// # Errors
    ///
    /// [`ToolFault::Unknown`] and [`ToolFault::BadArguments`], with a message that lets the model correct the call.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # /// The time in a city.
    /// # #[tool]
    /// # async fn time(city: String) -> Result<String, ToolError> { Ok(format!("{city}: noon")) }
    /// use agent_core::tool::{ToolCall, ToolFault};
    ///
    /// let tools = ToolRegistry::builder().tool(weather).build()?;
    /// let error = tools.prepare(ToolCall::new("weather", &serde_json::json!({ "town": 7 }))).unwrap_err();
    /// assert_eq!(error.fault(), ToolFault::BadArguments);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn prepare(&self, call: ToolCall) -> Result<PreparedCall, ToolError> {
        let Some(entry) = self.by_name.get(&call.name) else {
            return Err(self.unknown(&call.name));
        };
        let args = entry.checker.parse(&call)?;
        Ok(PreparedCall::new(call, Arc::clone(entry), args))
    }

    fn unknown(&self, name: &str) -> ToolError {
        // A registry can be large; a model that errs needs a hint, not the catalogue.
        let mut names: Vec<&str> = self.names().take(20).collect();
        if self.specs.len() > names.len() {
            names.push("…");
        }
        let name: String = name.chars().take(64).collect();
        let text = if names.is_empty() {
            format!("unknown tool `{name}`; no tools are available")
        } else {
            format!("unknown tool `{name}`; available tools: {}", names.join(", "))
        };
        ToolError::new(ToolFault::Unknown, text)
    }

    fn of(entries: Vec<Arc<Entry>>) -> Self {
        let specs = entries.iter().map(|entry| entry.spec.clone()).collect();
        let by_name = entries.into_iter().map(|entry| (entry.spec.name.clone(), entry)).collect();
        Self { by_name: Arc::new(by_name), specs }
    }
}

impl Entry {
    fn is(&self, name: &str) -> bool {
        self.tool.name() == name || self.groups.contains(name)
    }
}

impl fmt::Debug for ToolRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ToolRegistry").field(&self.names().collect::<Vec<_>>()).finish()
    }
}

/// Builder of a [`ToolRegistry`].
///
/// # Examples
///
/// ```
/// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
/// # /// The weather of a city.
/// # #[tool]
/// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
/// let registry = ToolRegistry::builder().tool(weather).build()?;
/// assert_eq!(registry.names().collect::<Vec<_>>(), ["weather"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder does nothing until `build`"]
#[derive(Debug, Default)]
pub struct ToolRegistryBuilder {
    tools: Vec<(AnyTool, ToolPolicy)>,
    groups: BTreeMap<String, BTreeSet<String>>,
}

impl ToolRegistryBuilder {
    /// Adds a tool with its own policy.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # /// The time in a city.
    /// # #[tool]
    /// # async fn time(city: String) -> Result<String, ToolError> { Ok(format!("{city}: noon")) }
    /// let tools = ToolRegistry::builder().tool(weather).build()?;
    /// assert_eq!(tools.names().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tool(self, tool: impl Tool) -> Self {
        let policy = tool.policy();
        self.tool_with(tool, policy)
    }

    /// Adds a tool with the given policy.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # /// The time in a city.
    /// # #[tool]
    /// # async fn time(city: String) -> Result<String, ToolError> { Ok(format!("{city}: noon")) }
    /// use agent_core::tool::{Approval, ToolPolicy};
    ///
    /// let policy = ToolPolicy::default().approval(Approval::Always);
    /// let tools = ToolRegistry::builder().tool_with(weather, policy).build()?;
    /// # assert_eq!(tools.names().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tool_with(mut self, tool: impl Tool, policy: ToolPolicy) -> Self {
        self.tools.push((AnyTool::new(tool), policy));
        self
    }

    /// Adds a type-erased tool with its own policy.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # /// The time in a city.
    /// # #[tool]
    /// # async fn time(city: String) -> Result<String, ToolError> { Ok(format!("{city}: noon")) }
    /// use agent_core::tool::AnyTool;
    ///
    /// let all = [AnyTool::new(weather), AnyTool::new(time)];
    /// let tools = all.into_iter().fold(ToolRegistry::builder(), |builder, tool| builder.any(tool)).build()?;
    /// assert_eq!(tools.names().count(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn any(mut self, tool: AnyTool) -> Self {
        let policy = tool.0.policy();
        self.tools.push((tool, policy));
        self
    }

    /// Defines a group: a common name of several tools for allow lists.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # /// The time in a city.
    /// # #[tool]
    /// # async fn time(city: String) -> Result<String, ToolError> { Ok(format!("{city}: noon")) }
    /// let tools = ToolRegistry::builder().tool(weather).tool(time).group("city", ["weather", "time"]).build()?;
    /// assert_eq!(tools.allow(["city"])?.names().count(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn group<I>(mut self, group: impl Into<String>, names: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.groups.entry(group.into()).or_default().extend(names.into_iter().map(Into::into));
        self
    }

    /// Validates names, groups and schemas, and compiles the schemas.
    ///
    /// # Errors
    ///
    /// [`RegistryError`] lists every fault found, not only the first.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # /// The time in a city.
    /// # #[tool]
    /// # async fn time(city: String) -> Result<String, ToolError> { Ok(format!("{city}: noon")) }
    /// let twice = ToolRegistry::builder().tool(weather).tool(weather).build();
    /// assert_eq!(twice.unwrap_err().faults.len(), 1);
    /// ```
    pub fn build(self) -> Result<ToolRegistry, RegistryError> {
        let mut faults = Vec::new();
        let mut seen = BTreeSet::new();
        let mut entries = Vec::with_capacity(self.tools.len());
        for (tool, policy) in self.tools {
            let name = tool.name().to_owned();
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            if !(1..=64).contains(&name.len()) || !name.bytes().all(legal) {
                faults.push(RegistryFault::IllegalName { len: name.len() });
                continue;
            }
            if !seen.insert(name.clone()) {
                faults.push(RegistryFault::Twice { name });
                continue;
            }
            let parameters = tool.0.parameters();
            let checker = match Checker::new(&parameters) {
                Ok(checker) => checker,
                Err(reason) => {
                    faults.push(RegistryFault::BadSchema { name, reason });
                    continue;
                }
            };
            let (parameters, strict) = match (tool.0.exact_schema(), schema::for_model(&parameters)) {
                (Some(exact), _) => (parameters, exact == ExactSchema::Strict),
                (None, Some(strict)) => (strict, true),
                (None, None) => (parameters, false),
            };
            let spec = ToolSpec {
                name: name.clone(),
                description: tool.0.description().to_owned(),
                parameters,
                strict,
            };
            let permits = match policy.concurrency {
                Concurrency::Unlimited => None,
                Concurrency::AtMost(count) => {
                    Some(Arc::new(Semaphore::new(count.get().min(Semaphore::MAX_PERMITS))))
                }
            };
            let groups = self.groups.iter().filter(|(_, members)| members.contains(&name));
            let groups = groups.map(|(group, _)| group.clone()).collect();
            entries.push(Arc::new(Entry { tool, policy, checker, permits, spec, groups }));
        }
        for (group, members) in &self.groups {
            if seen.contains(group) {
                faults.push(RegistryFault::Twice { name: group.clone() });
            }
            faults.extend(
                members
                    .iter()
                    .filter(|name| !seen.contains(*name))
                    .map(|name| RegistryFault::NothingIsCalled { name: name.clone() }),
            );
        }
        if faults.is_empty() { Ok(ToolRegistry::of(entries)) } else { Err(RegistryError { faults }) }
    }
}

/// Error of [`ToolRegistryBuilder::build`]: all faults of a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tool registry has {} fault(s), the first: {}", faults.len(), faults.first().map(ToString::to_string).unwrap_or_default())]
pub struct RegistryError {
    /// Every fault, at least one.
    pub faults: Vec<RegistryFault>,
}

/// One fault of a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryFault {
    /// A name that model endpoints would refuse.
    #[error("a tool's name is 1 to 64 of `A-Z a-z 0-9 _ -`, this one has {len} bytes or others among them")]
    IllegalName {
        /// Bytes of the name.
        len: usize,
    },
    /// Two tools, or a tool and a group, have the same name.
    #[error("two tools or groups are named `{name}`; rename one")]
    Twice {
        /// The name.
        name: String,
    },
    /// A group or an allow list contains an unknown name.
    #[error("unknown tool or group `{name}`; use a registered name")]
    NothingIsCalled {
        /// The name.
        name: String,
    },
    /// The parameters of a tool are not a JSON Schema of an object.
    #[error("the parameters of `{name}` are not usable: {reason}")]
    BadSchema {
        /// The tool.
        name: String,
        /// Why.
        reason: String,
    },
}
