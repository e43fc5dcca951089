//! The two macros of `agent-core`: sugar for its public traits, nothing that cannot be written by hand.

mod state;
mod tool;

use proc_macro::TokenStream;

/// Writes the update of a state, its builder and the reducer of each field.
///
/// Fields replace unless told otherwise:
///
/// | attribute | field type | the new value |
/// |---|---|---|
/// | (none) | any | replaces; one writer a superstep |
/// | `#[state(append)]` | `Vec<T>` | goes to the end |
/// | `#[state(extend)]` | a collection | goes into it |
/// | `#[state(add)]` | a number, a `Duration` | is added; overflow is an error |
/// | `#[state(max)]`, `#[state(min)]` | ordered | stays if larger, smaller |
/// | `#[state(merge)]` | a map | its entries win |
/// | `#[state(messages)]` | `Vec<impl Keyed>` | replaces the item of the same key, or goes to the end |
/// | `#[state(reduce = path)]` | any | through `fn(&mut T, T)`, or the same with `-> Result<(), ApplyError>` |
/// | `#[state(untracked)]` | any, with `#[serde(skip)]` | replaces in memory; never stored |
///
/// On the struct: `#[state(version = 2, migrate = path)]` with `fn(u32, Value) -> Result<Value, ApplyError>`, and
/// `migrate_update = path` where stored updates need another function than states.
///
/// The update is stored under the serde names of the state: `rename`, `rename_all` and `alias` are taken over. A field
/// that is not set is absent from the JSON, a field set to `None` is `null`. An unknown name is an error.
///
/// # Expansion
///
/// ```ignore
/// #[derive(State, Default, Serialize, Deserialize)]
/// struct Report { brand: String, #[state(append)] findings: Vec<Finding>, summary: Option<String> }
/// ```
///
/// writes, less hidden details:
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
/// A setter called twice combines as the reducer would: `append`, `extend`, `messages` take both, `add` sums (and
/// panics where the sum does not fit), `max`, `min` and `merge` choose. A custom reducer may fail, so there the later
/// call replaces the earlier one, as it does for plain fields.
#[proc_macro_derive(State, attributes(state))]
pub fn derive_state(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    state::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a tool of an async function: its doc comment tells the model when and why to use it, each argument is a
/// parameter, and the doc comment of an argument describes that one.
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
/// The return type is a `Result` of anything that is `Serialize`; its error is a `ToolError` or turns into one. An
/// argument `&ToolContext`, anywhere in the list, is the context of the call. Arguments take `#[serde(..)]` and
/// `#[schemars(..)]` (`#[serde(default)]`, `#[schemars(range(max = 16))]`). One argument under `#[args]` is a struct
/// that holds all arguments.
///
/// Options: `#[tool(name = "..")]`, default the function's name; `#[tool(policy = ToolPolicy::read_only())]`, any
/// expression, default `ToolPolicy::default()`.
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
