//! Tables and properties of the import filter.
