"""Pictures drawn for people to look at: timelines, masks, skeletons, contact sheets."""
