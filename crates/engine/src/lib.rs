//! Load, decide, append, perform: the only place where rules meet ports.
