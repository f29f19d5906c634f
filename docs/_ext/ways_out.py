"""What to do about each error of :mod:`gpwarehouse.errors`. A class without an entry fails the build."""

from __future__ import annotations

WAYS_OUT = {
    "GpwarehouseError": "Catch it to catch all errors of the package. If `safe_to_repeat` is set, do the same again.",
    "SettingsError": "Correct the variable that the message names. The table of settings says what is allowed.",
    "MissingExtraError": "Install the extra that the message names, for example `gpwarehouse[stdf]`.",
    "WarehouseConnectionError": "Check host, port, database and role. Run `gpwarehouse health`. Run the job again when "
    "the server answers; a batch is still loaded once.",
    "PoolTimeoutError": "Close the connections that the message names, or raise `GPWAREHOUSE_POOL_MAX`.",
    "AmbiguousCommitError": "Look in the database whether the work is there, then decide. For a load, call it again: it "
    "looks for its batch. For `wh.run`, give `settled=`.",
    "EmbeddedServerError": "Read the server's message. Check that the folder is writable and the disk has space. For "
    "production use a server of your own.",
    "MigrationError": "Read the message. It names the revision and the statement. Nothing of the failed revision "
    "remains. Correct the cause and run `gpwarehouse upgrade` again.",
    "PartitionError": "Remove what the message names and run the command again. Steps that are done stay done.",
    "BackupError": "Read the message. Run the same command again after correcting the cause: backups and restores go on "
    "where they stopped.",
    "RoleError": "Run it as a superuser, or give the output of `gpwarehouse roles plan --sql` to a DBA.",
    "ReadError": "Correct the statement or its parameters. The message names the column or the parameter.",
    "NaturalKeyError": "Give every part of the natural key a text. Remove the character U+001F.",
    "OptionError": "Correct the option that the message names.",
    "UnsupportedByServerError": "Use the remedy that the message names, or another server.",
    "SourceFormatError": "Get the whole file again. Give what it does not say (`lot_id=`, `event_ts=`). For an incomplete "
    "STDF file decide whether `allow_incomplete=True` will do.",
    "UnknownFormatError": "Check that the file is what you think. For a table file name the `target`.",
    "ReadCancelledError": "Whoever holds the `Cancellation` asked for it. Read again if the rows are still wanted.",
    "ResultTooLargeError": "Ask for fewer rows or columns, or raise `max_bytes`.",
    "LoadError": "Read the message. Nothing of the batch is in the warehouse. Correct the cause and load again.",
    "InvalidInputError": "Compare the frame with `wh.facts.columns(target)`. Correct the argument that the message names.",
    "TooManyRejectsError": "Read `wh.batches.rejects(batch_id)`. Correct the rows, or raise `max_rejects`.",
    "KeyCollisionError": "Change one of the two natural keys that the message names. The package never merges them.",
    "BatchConflictError": "Choose another `batch_id`, or `on_conflict=`. If other batches hold the records now, use "
    "`wh.facts.upsert`.",
}
