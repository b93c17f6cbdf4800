//! Git and the sealed tree: materialise, capture, judge, publish, land.
