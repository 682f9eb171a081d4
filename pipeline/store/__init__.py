"""The feature store: frozen results by the content they were computed from, in immutable, self-naming segments.

    <home>/store/<collection>-<fingerprint>/collection.json     what the rows were computed with
                                            <sha256>.arrow      rows: 16-byte key, values; named by its own bytes

A row's key is the first 16 bytes of the sha256 of what went in (`keys`); a collection is bound to what it was computed
with (`collection`), so neither a changed image nor changed weights can meet an old row. Nothing is ever changed in
place: writers add segments (`segment`), and whatever has the right name has the right bytes, here or on a remote
(`remote`).
"""
