//! System 4 from outside: an agent with tools, and conversations that last.
