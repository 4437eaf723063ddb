"""The reconciler: repairs runs that were lost, are overdue or were not delivered."""
