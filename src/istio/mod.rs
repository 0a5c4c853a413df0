//! Pure: the slices of Istio's API that outrigger writes or checks, and Istio's own rules for them.
