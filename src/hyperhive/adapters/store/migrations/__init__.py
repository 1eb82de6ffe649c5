"""The schema, step by step: NNNN_verb_noun.sql, applied in order, never changed once released."""
