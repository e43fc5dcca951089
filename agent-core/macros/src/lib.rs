//! Macros of `agent-core`: shorthand for implementing its public traits.

mod state;
mod tool;

use proc_macro::TokenStream;

/// Derives `State`: the update type, its builder and the reducer of each field.
///
/// Fields are replaced unless an attribute selects another reducer:
///
/// | attribute | field type | the new value |
/// |---|---|---|
/// | (none) | any | replaces; one writer per superstep |
/// | `#[state(append)]` | `Vec<T>` | is appended |
/// | `#[state(extend)]` | a collection | is inserted |
/// | `#[state(add)]` | a number, a `Duration` | is added; overflow is an error |
/// | `#[state(max)]`, `#[state(min)]` | ordered | is kept if it is larger or smaller |
/// | `#[state(merge)]` | a map | its entries override |
/// | `#[state(messages)]` | `Vec<impl Keyed>` | replaces the item with the same key, or is appended |
/// | `#[state(reduce = path)]` | any | through `fn(&mut T, T)`, or the same with `-> Result<(), ApplyError>` |
/// | `#[state(untracked)]` | any, with `#[serde(skip)]` | replaces in memory; never stored |
///
/// On the struct: `#[state(version = 2, migrate = path)]` with `fn(u32, Value) -> Result<Value, ApplyError>`, and
/// `migrate_update = path` where stored updates need another function than states.
///
/// The update is stored under the serde names of the state; `rename`, `rename_all` and `alias` apply. A field that
/// is not set is absent from the JSON, a field set to `None` is `null`. An unknown name is an error.
///
/// # Expansion
///
/// ```ignore
/// #[derive(State, Default, Serialize, Deserialize)]
/// struct Report { brand: String, #[state(append)] findings: Vec<Finding>, summary: Option<String> }
/// ```
///
/// expands to, without hidden details:
///
/// ```ignore
/// #[derive(Serialize, Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct ReportUpdate {               // Default: nothing set. Debug: names only, never values
///     brand: Option<String>,
///     findings: Option<Write<Vec<Finding>>>,
///     summary: Option<Option<String>>,
/// }
///
/// impl ReportUpdate {
///     fn brand(self, value: impl Into<String>) -> Self;                        // numbers: the number itself
///     fn findings(self, items: impl IntoIterator<Item = Finding>) -> Self;     // twice: both
///     fn overwrite_findings(self, value: impl Into<Vec<Finding>>) -> Self;     // past the reducer
///     fn summary(self, value: impl IntoOption<String>) -> Self;                // "..", Some(..) or None
///     fn is_empty(&self) -> bool;
/// }
///
/// impl Report { fn update() -> ReportUpdate; }
///
/// impl State for Report {
///     type Update = ReportUpdate;
///     const VERSION: u32 = 1;
///     fn apply(&mut self, update: ReportUpdate) -> Result<(), ApplyError>;     // in field order
///     fn claims(update: &ReportUpdate, claim: &mut dyn FnMut(&'static str));   // brand, summary, an overwrite
/// }
///
/// impl From<Report> for Input<Report> { .. }
/// impl From<ReportUpdate> for Input<Report> { .. }
/// impl IntoOutcome<Report> for ReportUpdate { .. }
/// ```
///
/// A setter called twice combines the values like the reducer: `append`, `extend` and `messages` take both, `add`
/// sums (and panics on overflow), `max`, `min` and `merge` choose. With a custom reducer, which may fail, the later
/// call replaces the earlier one, as with plain fields.
#[proc_macro_derive(State, attributes(state))]
pub fn derive_state(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    state::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Implements a tool as an async function. Its doc comment is the description for the model, each argument is a
/// parameter, and the doc comment of an argument is the description of the parameter.
///
/// ```ignore
/// /// The weather of a city on one of the next days.
/// #[tool]
/// async fn weather(
///     /// Name of the city, in any language.
///     city: String,
///     /// Days from today; today when left out.
///     days: Option<u8>,
///     cx: &ToolContext,
/// ) -> Result<Forecast, ToolError> { .. }
///
/// let tools = ToolRegistry::builder().tool(weather).build()?;
/// ```
///
/// The return type is a `Result` of any type that implements `Serialize`; the error is a `ToolError` or converts
/// into one. An argument `&ToolContext`, anywhere in the list, is the context of the call. Arguments take
/// `#[serde(..)]` and `#[schemars(..)]` (`#[serde(default)]`, `#[schemars(range(max = 16))]`). A single argument
/// with `#[args]` is a struct with all arguments.
///
/// Options: `#[tool(name = "..")]` (default: the function's name) and `#[tool(policy = ToolPolicy::read_only())]`
/// (any expression; default: `ToolPolicy::default()`).
///
/// # Expansion
///
/// ```ignore
/// struct weather;                                   // a value too: `.tool(weather)`
/// impl weather { async fn run(city: String, days: Option<u8>, cx: &ToolContext) -> .. { .. } }   // the function
///
/// #[derive(Deserialize, JsonSchema)]
/// struct Args { /** Name of the city, in any language. */ city: String, /** .. */ days: Option<u8> }
///
/// impl Tool for weather {
///     type Args = Args;
///     type Output = Forecast;
///     fn name(&self) -> &str { "weather" }
///     fn description(&self) -> &str { "The weather of a city on one of the next days." }
///     async fn call(&self, args: Args, cx: &ToolContext) -> Result<Forecast, ToolError> {
///         Self::run(args.city, args.days, cx).await.map_err(Into::into)
///     }
/// }
/// ```
#[proc_macro_attribute]
pub fn tool(options: TokenStream, item: TokenStream) -> TokenStream {
    let function = syn::parse_macro_input!(item as syn::ItemFn);
    tool::expand(options.into(), function).unwrap_or_else(syn::Error::into_compile_error).into()
}
