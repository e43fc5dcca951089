//! What the server says of itself: [`openapi`] its paths, [`asyncapi`] its socket, [`errors`] a page for every code;
//! [`shape`] the types behind them, [`page`] how a text becomes a page, [`assets`] Swagger UI and Redoc.

pub(crate) mod assets;
pub(crate) mod asyncapi;
pub(crate) mod errors;
pub(crate) mod openapi;
pub(crate) mod page;
mod shape;
